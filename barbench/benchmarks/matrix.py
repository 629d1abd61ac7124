"""The cells of a matrix: methods x backbones x splits x seeds, each with everything that can change its result."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from barbench.benchmarks.job import Job
from barbench.datasets.sources import DataSource, data_root
from barbench.errors import UsageError
from barbench.methods.catalog import MethodSpec
from barbench.models.efficient.kernels import Kernels
from barbench.paper.partitions import PAPER_PARTITIONS, Exif
from barbench.results.record import Cell, DataIdentity
from barbench.spec.backbone import (
    CONFIG,
    EMBEDDED,
    HEAD,
    HEAD_WEIGHTS,
    MERGES,
    PRETRAINED,
    WEIGHTS,
    BackboneConfig,
    backbone_config,
)
from barbench.spec.dataset import Dataset, resolve_dataset
from barbench.spec.recipe import Recipe
from barbench.spec.text import split_list


@dataclass(frozen=True, kw_only=True)
class Host:
    """Where and with what cells run.

    Attributes:
        results: folder of the records.
        device: as torch names it.
        processes: per cell.
        threads: of torch, per process.
        workers: processes that load images, per process.
        checkpoint_seconds: between two checkpoints.
        cache: folder of letterboxed images; None for none.
        tracker: as in `Job`.
    """

    results: Path
    device: str
    processes: int
    threads: int
    workers: int | None
    checkpoint_seconds: float = 30.0
    cache: Path | Literal["auto"] | None = None
    kernels: Kernels = "auto"
    tracker: str | None = None


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The axes of a matrix, and what all cells share.

    Attributes:
        methods: first axis.
        backbones: second axis: names or folders.
        tasks: third axis: protocols or mixtures.
        seeds: fourth axis.
        recipe: of all cells; it may hold each method's own learning rates.
        precision: fp32, bf16 or fp16.
        weights: of the backbone; None for its default.
        image_size: pixels; None for the backbone's own.
        options: of each method by name, `component.parameter` to value.
        held_out: percent of the training images, as in `Cell`.
        exif: how images are read, as in `Cell`.
    """

    methods: Sequence[MethodSpec]
    backbones: Sequence[str]
    tasks: Sequence[Dataset]
    seeds: Sequence[int]
    recipe: Recipe
    precision: str = "fp32"
    weights: str | None = None
    image_size: int | None = None
    options: Mapping[str, Mapping[str, Any]] | None = None
    held_out: int = 0
    exif: Exif = "stored"

    def jobs(self, sources: Mapping[str, DataSource], host: Host) -> list[Job]:
        """Combine the axes.

        Args:
            sources: the data of each task, by its name.
            host: where and with what the cells run.

        Returns:
            One job per cell, ordered by backbone, split, seed, method.

        Raises:
            UsageError: for options that a method does not have, for weights that cannot be used, and for a method that
                cannot be used on a backbone.
        """
        chosen = self.options or {}
        jobs = []
        for backbone, task, seed, method in product(self.backbones, self.tasks, self.seeds, self.methods):
            weights, path = identify_weights(backbone, self.weights)
            options = {**method.options, **chosen.get(method.name, {})}
            source = sources[task.name]
            cell = Cell(
                method=method.reference or method.name,
                options=options,
                backbone=identify_backbone(backbone),
                weights=weights,
                image_size=backbone_config(backbone).image_size(self.image_size),
                protocol=task.name,
                recipe=_start(self.recipe.of(method.base_name), backbone, method).fields(),
                held_out=self.held_out,
                context_length=_context(task, backbone),
                exif=self.exif,
                seed=seed,
                data=DataIdentity(kind=source.kind, fingerprint=source.fingerprint),
                precision=self.precision,
                processes=host.processes,
            )
            made = method.create(options)
            made.check(backbone, backbone_config(backbone).transformer)
            jobs.append(
                Job(
                    cell=cell,
                    backbone=backbone,
                    title=method.title,
                    composition=tuple(made.composition()),
                    weights_path=path,
                    data_root=source.root,
                    results=host.results,
                    device=host.device,
                    threads=host.threads,
                    workers=host.workers,
                    checkpoint_seconds=host.checkpoint_seconds,
                    cache=host.cache,
                    kernels=host.kernels,
                    tracker=host.tracker,
                )
            )
        return jobs


def _context(task: Dataset, backbone: str) -> int | None:
    """The cell's context length where it is not the one that the task's name stands for."""
    check_context(task.context_length, backbone_config(backbone))
    return task.changed_context


def check_context(words: int, config: BackboneConfig) -> None:
    """Check a context length.

    Args:
        words: in tokens.
        config: of the backbone.

    Raises:
        UsageError: if the text tower cannot read that many.
    """
    if words > config.context_length:
        raise UsageError(
            f"a context of {words} tokens is longer than {config.name}'s, which is {config.context_length}"
        )


def _start(recipe: Recipe, backbone: str, method: MethodSpec) -> Recipe:
    """The recipe with a random head if the backbone ships with none for the method; its record says so."""
    config = backbone_config(backbone)
    folder, neck = config.folder, config.head.neck
    ships = folder is not None and (folder / HEAD_WEIGHTS).is_file() and method.neck in (None, neck)
    return recipe if ships or recipe.head == "random" else recipe.model_copy(update={"head": "random"})


def identify_backbone(name: str) -> str:
    """What stands for a backbone in a cell.

    Args:
        name: as `load_backbone` accepts it.

    Returns:
        The name; for a user's folder, the folder's name and a hash of its configuration.
    """
    folder = backbone_config(name).folder
    if folder is None or name in EMBEDDED:
        return name
    digest = hashlib.sha256(
        b"".join((folder / f).read_bytes() for f in (CONFIG, MERGES, HEAD) if (folder / f).is_file())
    )
    return f"{folder.resolve().name}@{digest.hexdigest()[:8]}"


def identify_weights(backbone: str, weights: str | None) -> tuple[str, Path | None]:
    """What stands for weights in a cell.

    Args:
        backbone: as `load_backbone` accepts it.
        weights: a tag or a file; None for the backbone's default.

    Returns:
        A tag and None; or a file's name with a hash of its content, and the file.

    Raises:
        UsageError: if the backbone has no default.
    """
    config = backbone_config(backbone)
    folder, weights = config.folder, weights or config.default_weights()
    path = folder / WEIGHTS if folder and weights == PRETRAINED else Path(weights)
    if not path.is_file():
        return weights, None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:8]
    return f"{PRETRAINED if weights == PRETRAINED else path.name}@{digest}", path.resolve()


def choose_datasets(
    text: str, data: str | None = None, context_length: int | None = None, exif: Exif = "stored"
) -> list[Dataset]:
    """Read a comma list of datasets.

    Args:
        text: names of data sets and mixtures; `all` means the paper's four.
        data: folder with images and annotations, where your own data sets are looked for; None: $BARBENCH_DATA.
        context_length: in tokens; None: that of each data set.
        exif: how images are read, as in `Cell`.

    Returns:
        Each once.

    Raises:
        UsageError: for an empty list.
        UnknownName: for an unknown name.
    """
    names = split_list(text)
    if not names:
        raise UsageError("no dataset was named; try --dataset refcoco+")
    chosen = PAPER_PARTITIONS.names() if names == ["all"] else names
    root = data_root(data)
    return [resolve_dataset(name, root, context_length, exif) for name in dict.fromkeys(chosen)]
