"""barbench for programs and notebooks: each function here is one step of what `barbench run` does, on values.

What these functions compute is what a cell of a matrix computes with the same arguments; only records, processes and
folders are left out. `barbench.__init__` lists the names.
"""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from accelerate import Accelerator
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from barbench.benchmarks.cell_model import Trained, find_in_photo, load_trained
from barbench.benchmarks.elsewhere import Elsewhere, evaluate_elsewhere
from barbench.benchmarks.elsewhere import Outcome as CellEvaluation
from barbench.benchmarks.execution.host.devices import pick_device
from barbench.benchmarks.execution.launch import prepare, run_cells
from barbench.benchmarks.matrix import cells
from barbench.datasets.content import DatasetContent, read_dataset
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.pixels.photo import RGB, check_pixels, read_photo, upright_rgb
from barbench.datasets.samples import EvalSamples, JointSamples, TrainSamples
from barbench.datasets.sources import DataSource, data_root, find_source
from barbench.datasets.tokens import Tokens
from barbench.engine.accelerator import fresh_accelerator
from barbench.engine.checkpoint import Checkpoint
from barbench.engine.evaluate import Evaluation
from barbench.engine.evaluate import evaluate as evaluate_samples
from barbench.engine.kernel_check import settle_kernels
from barbench.engine.seeding import seed_everything
from barbench.engine.train import fit as fit_samples
from barbench.engine.training_state import StepLog
from barbench.errors import UnknownName, UsageError
from barbench.listing import progress_bar
from barbench.methods.build import build_segmenter as build
from barbench.methods.catalog import NONE, MethodSpec
from barbench.methods.entry import in_proportion
from barbench.methods.resolve import check_rates, resolve
from barbench.models.segmenter import Segmenter
from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone
from barbench.notebook import ComparisonResult, EvaluationResult, FitResult
from barbench.paper.partitions import Exif
from barbench.results.compare import RESAMPLES, Wanted, reading, rows_of
from barbench.results.compare import compare as compare_cells
from barbench.results.expressions import same_expressions
from barbench.results.frames import frame_of
from barbench.results.select import runs
from barbench.results.store import Store
from barbench.spec.backbone import HeadChoice, HeadForm, NeckName, backbone_config
from barbench.spec.dataset import resolve_dataset
from barbench.spec.recipe import EVAL_BATCH, THRESHOLD, Recipe, load_recipe
from barbench.spec.run import Place, Proportion, Run


@dataclass(frozen=True)
class Data:
    """A dataset, read: its training references and its evaluation splits.

    Attributes:
        name: as in `barbench list datasets`, for example refcoco+.
        source: the folder that it was read from.
        content: the references themselves, images and masks on demand.
    """

    name: str
    source: DataSource
    content: DatasetContent

    @property
    def splits(self) -> tuple[str, ...]:
        """The evaluation splits, as `evaluate` takes them."""
        return tuple(self.content.evals)

    def __str__(self) -> str:
        references = sum(len(split.references) for split in self.content.train)
        sizes = ", ".join(f"{key} {len(split.references):,}" for key, split in self.content.evals.items())
        return f"{self.name} ({self.source.kind}): {references:,} references to train on; evaluation: {sizes}"


def open_data(
    source: str | Path = "shapes",
    dataset: str = "refcoco+",
    exif: Exif = "stored",
    *,
    limit: int | None = None,
    limit_train: int | None = None,
) -> Data:
    """Read a dataset.

    Args:
        source: `shapes`, the embedded benchmark, which is generated once and kept in the cache; or the root of a folder
            in the public REFER/COCO layout.
        dataset: refcoco, refcoco+, refcocog-u, refcocog-g, grefcoco, mixed or mixed-leaked; or a data set of
            your own, see `barbench.spec.dataset`.
        exif: `apply` turns images as their EXIF orientation says.
        limit: number of images of each evaluation split, always the same ones; None: all.
        limit_train: number of images of the training set, chosen in the same way; None: all.

    Returns:
        Training references and evaluation splits.

    Raises:
        UnknownName: for an unknown dataset.
        MissingData: if a file of it is absent.
        DataError: if one is damaged.
        UsageError: for a limit that is no whole number from 1 on.
    """
    for name, value in (("limit", limit), ("limit_train", limit_train)):
        if value is not None:
            _check_whole(name, value, 1)
    resolved = resolve_dataset(dataset, data_root(str(source)), exif=exif)
    found = find_source(str(source), resolved)
    return Data(dataset, found, read_dataset(found.root, resolved, limit=limit, limit_train=limit_train))


def build_segmenter(
    method: str | MethodSpec,
    backbone: str | Backbone = "tiny",
    *,
    options: Mapping[str, Any] = NONE,
    proportion: Proportion | None = None,
    seed: int = 0,
    weights: str | None = None,
    image_size: int | None = None,
    neck: NeckName | None = None,
    head: HeadForm | None = None,
) -> Segmenter:
    """Build an untrained segmenter: a frozen backbone, a method, and the segmentation head.

    Args:
        method: a name of `barbench list methods`, `package.module:name`, or what `@barbench.method` made.
        backbone: a name of `barbench list backbones`, a folder in open_clip's format, or a loaded backbone, which the
            segmenter then owns: load one for each segmenter.
        options: `component.parameter` to value, as in {"gst.prior": False}.
        proportion: sizes of the method: `published`, those for ViT-B/16; `width`, in proportion to a narrower backbone,
            except for `options`; None: `width` on embedded backbones, else `published`.
        seed: of head and method parameters, and of the backbone's if its weights are random.
        weights: as for `load_backbone`; without effect for a loaded backbone.
        image_size: as for `load_backbone`; without effect for a loaded backbone.
        neck: etris, detris, cris or none; None: the backbone's own. Without effect for a loaded backbone.
        head: full or linear; None: the backbone's own. Without effect for a loaded backbone.

    Returns:
        The segmenter, on the CPU.

    Raises:
        UnknownName: for an unknown method or backbone.
        UsageError: for options that the method does not have, several methods, or a head that does not go with it.
        MissingData: if weights are absent.
        DataError: if weights do not fit.
    """
    spec = resolve(method)[0] if isinstance(method, str) else method
    if isinstance(backbone, str):
        choice = HeadChoice(neck, head)
        spec.check_head(choice)
        backbone = load_backbone(backbone, weights, image_size, seed=seed, head=choice)
    sizes = in_proportion([spec], backbone_config(backbone.name), proportion, {spec.name: options})
    return build(spec, backbone, seed, sizes[spec.name])


def fit(
    model: Segmenter,
    data: Data,
    recipe: str | Recipe = "demo",
    *,
    max_steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "fp32",
    workers: int = 0,
    checkpoint: str | Path | None = None,
    on_step: Callable[[StepLog], None] | None = None,
    progress: bool = True,
) -> FitResult:
    """Train in place.

    On a CUDA card with the kernels that a cell would have: the first training on a card compares them for a minute.

    Args:
        model: from `build_segmenter`.
        data: from `open_data`.
        recipe: a name of `barbench list recipes`, a YAML file, or a recipe.
        max_steps: stop after so many steps of the recipe, whose learning rates stay those of the whole training.
        seed: of the order of the references, of the sentences drawn, and of dropout.
        device: auto, cpu, or another device name of torch: cuda, cuda:1, mps.
        precision: fp32, bf16 or fp16.
        workers: processes that load images.
        checkpoint: a file that is written after each epoch and every thirty seconds, and continued from if it exists.
        on_step: called after each step.
        progress: show a bar in a terminal or a notebook.

    Returns:
        Loss and learning rate per epoch (`history`, `frame`), the loss every few steps (`losses`), seconds, and
        throughput.

    Raises:
        UsageError: if the recipe's batch does not fit the data, or if these only evaluate.
        BarbenchError: if the loss or a gradient is not finite.
    """
    if not data.content.train:
        raise UsageError(f"{data.content.dataset.name} has no training set")
    chosen = load_recipe(recipe) if isinstance(recipe, str) else recipe
    check_rates(chosen.rates)
    # The model and its samples on the device.
    accelerator = fresh_accelerator(pick_device(device), precision)
    slower = settle_kernels("auto", accelerator.device, precision)
    if slower is not None:
        warnings.warn(slower, stacklevel=2)
    model.to(accelerator.device)
    letterbox = Letterbox(model.image_size, model.normalization)
    tokens = Tokens(model.tokenizer, data.content.dataset.context_length)
    samples = JointSamples(
        [TrainSamples(split, letterbox, tokens, seed, grid=model.mask_grid) for split in data.content.train]
    )
    # The training, whose steps move a bar and reach the caller.
    seed_everything(seed)
    with progress_bar("training", progress) as bar:

        def after_step(log: StepLog) -> None:
            total = log.epochs * log.steps
            bar((log.epoch - 1) * log.steps + log.step, min(total, max_steps or total))
            if on_step is not None:
                on_step(log)

        training = fit_samples(
            model,
            samples,
            chosen,
            accelerator,
            seed=seed,
            max_steps=max_steps,
            checkpoint=None if checkpoint is None else Checkpoint(Path(checkpoint), "api"),
            workers=workers,
            on_step=after_step,
        )
    return FitResult(*training)


def evaluate(
    model: Segmenter,
    data: Data,
    split: str = "val",
    *,
    batch: int = EVAL_BATCH,
    threshold: float = THRESHOLD,
    device: str = "auto",
    precision: str = "fp32",
    workers: int = 0,
    progress: bool = True,
) -> EvaluationResult:
    """Score every expression of one evaluation split, at each image's own resolution.

    Args:
        model: from `build_segmenter`.
        data: from `open_data`.
        split: one of `data.splits`.
        batch: expressions per forward pass.
        threshold: probability above which a pixel is in the mask.
        device: as for `fit`.
        precision: as for `fit`.
        workers: as for `fit`.
        progress: as for `fit`.

    Returns:
        `metrics`; `control`, the metrics with expressions swapped within each image; and the counts of each expression
        (`expressions`, `frame`).

    Raises:
        UnknownName: for a split that the data do not have.
        UsageError: for a threshold beyond 0..1, or a batch without expressions.
    """
    _check_share("threshold", threshold)
    _check_whole("batch", batch, 1)
    _check_whole("workers", workers, 0)
    if split not in data.content.evals:
        raise UnknownName("evaluation split", split, data.content.evals)
    # The model and its samples on the device.
    accelerator, letterbox, tokens = _prepared(model, data.content.dataset.context_length, device, precision)
    samples = EvalSamples(data.content.evals[split], letterbox, tokens)
    with progress_bar(f"evaluating {split}", progress) as bar:
        found = evaluate_samples(
            model,
            samples,
            accelerator,
            batch=batch,
            threshold=threshold,
            workers=workers,
            on_batch=lambda done, total, _: bar(done, total),
        )
    return EvaluationResult(*found)


def predict(
    model: Segmenter,
    photo: str | Path | RGB | Image.Image,
    expressions: str | Sequence[str],
    *,
    threshold: float = THRESHOLD,
    context_length: int = 17,
    device: str = "auto",
    precision: str = "fp32",
) -> NDArray[np.bool_]:
    """The mask of each expression in a photo.

    Args:
        model: from `build_segmenter`.
        photo: an image file, uint8 (H, W, 3) in RGB, or an image of Pillow.
        expressions: one or several, as in "the man in red".
        threshold: probability above which a pixel is in the mask.
        context_length: tokens of an expression, start and end of text included; longer ones are cut.
        device: as for `fit`.
        precision: as for `fit`.

    Returns:
        Boolean masks (expressions, H, W) in the photo's own pixels.

    Raises:
        DataError: for a file that is not an image.
        UsageError: for an array of another type or shape, no expression, or a threshold beyond 0..1.
    """
    _check_share("threshold", threshold)
    _check_whole("context_length", context_length, 3)
    pixels = _pixels(photo)
    accelerator, letterbox, tokens = _prepared(model, context_length, device, precision)
    model.eval()
    asked = [expressions] if isinstance(expressions, str) else list(expressions)
    found = find_in_photo(model, letterbox, tokens, accelerator, pixels, asked, threshold)
    return np.stack([each.mask for each in found])


def _prepared(
    model: Segmenter, context_length: int, device: str, precision: str
) -> tuple[Accelerator, Letterbox, Tokens]:
    """Put a model on a device; what computes there, and how images and expressions are brought to its form."""
    accelerator = fresh_accelerator(pick_device(device), precision)
    model.to(accelerator.device)
    letterbox = Letterbox(model.image_size, model.normalization)
    return accelerator, letterbox, Tokens(model.tokenizer, context_length)


def _pixels(photo: str | Path | RGB | Image.Image) -> RGB:
    """A photo in any of the forms that `predict` takes, as uint8 (H, W, 3) RGB."""
    if isinstance(photo, np.ndarray):
        return check_pixels(photo)
    if isinstance(photo, Image.Image):
        return upright_rgb(photo)
    if isinstance(photo, str | Path):
        return read_photo(Path(photo))
    raise UsageError(
        f"the photo is a {type(photo).__name__}; what is read is a file, uint8 (height, width, 3) in RGB as a numpy "
        "array, or an image of Pillow"
    )


def _check_share(name: str, value: float) -> None:
    """UsageError for what is no number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or not 0 <= value <= 1:
        raise UsageError(f"{name} is {value!r}; it is a number from 0 to 1, as in 0.35")


def _check_whole(name: str, value: int, least: int) -> None:
    """UsageError for what is no whole number from `least` on."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise UsageError(f"{name} is {value!r}; it is a whole number from {least} on")


def compare(
    results: str | Path,
    first: str,
    second: str,
    *,
    dataset: str | None = None,
    backbone: str | None = None,
    recipe: str | None = None,
) -> ComparisonResult:
    """The difference of two methods of a results folder, first minus second, with 95 % intervals.

    Args:
        results: the folder of the records.
        first: a method, a title, or a cell by its id.
        second: the same for the other side.
        dataset: what the cells were trained on, if there are several.
        backbone: backbone of the cells, if there are several.
        recipe: recipe of the cells, if there are several.

    Returns:
        One row per evaluation split and metric, and notes on what the intervals cover.

    Raises:
        UnknownName: for a name that no finished cell has.
        UsageError: if a name is not clear, or if the two cannot be compared.
    """
    wanted = Wanted(dataset=dataset, backbone=backbone, recipe=recipe)
    store = Store(Path(results))
    try:
        return ComparisonResult(*compare_cells(store, first, second, wanted))
    finally:
        for note in store.notes():
            warnings.warn(note, stacklevel=2)


def compare_evaluations(
    first: Evaluation,
    second: Evaluation,
    titles: tuple[str, str] = ("first", "second"),
    *,
    split: str = "",
    resamples: int = RESAMPLES,
) -> ComparisonResult:
    """The difference of two evaluations of one split, first minus second, with 95 % intervals over images.

    Args:
        first: from `evaluate`.
        second: from `evaluate`, of another model on the same data and split.
        titles: what the two are called.
        split: its name in the rows.
        resamples: of the bootstrap.

    Returns:
        One row per metric, and notes on what the intervals cover.

    Raises:
        UsageError: if the two scored different expressions.
    """
    tables = [first.expressions, second.expressions]
    if not same_expressions(tables):
        raise UsageError("the two evaluations scored different expressions: evaluate both on one split of one dataset")
    return ComparisonResult(titles, rows_of([tables], split, titles, resamples), reading(1, resamples))


def run(
    methods: str | Sequence[str] | None = None,
    datasets: str | Sequence[str] | None = None,
    *,
    results: str | Path = "results",
    changes: Mapping[str, Any] | Sequence[str] = (),
    again: bool = False,
    progress: bool = True,
    **fields: Any,
) -> pd.DataFrame:
    """Run a matrix of cells, as `barbench run` does: finished ones are skipped, interrupted ones continue.

    Args:
        methods: names of `barbench list methods` or `package.module:name`, as a comma list or as a list.
        datasets: names of `barbench list datasets`.
        results: folder of the records.
        changes: fields of the recipe to change, as in {"epochs": 2}.
        again: run finished cells too, from the start.
        progress: show cells and bars as the command does.
        **fields: any other field of `barbench.spec.run.Run` and `Place`: backbones, recipe, seeds, data, options,
            device, jobs, …, as the command line takes them.

    Returns:
        The scores of the cells that were asked for, as `load_results` has them; cells that failed have a reason.

    Raises:
        UnknownName: for a field, a method or another name that does not exist.
        UsageError: for arguments that are wrong or do not go together.
    """
    # A misspelled field would be taken for one that is not asked for.
    known = (Run.model_fields.keys() | Place.model_fields.keys()) - {"changes"}
    for name in fields:
        if name not in known:
            raise UnknownName("field of a run", name, known)
    if isinstance(changes, Mapping):
        changes = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    asked = {name: _as_listed(value) for name, value in fields.items()}
    asked |= {"methods": _as_listed(methods), "datasets": _as_listed(datasets)}
    asked |= {"changes": tuple(changes), "results": Path(results)}
    # As the command does from here on.
    place = Place.of(asked)
    jobs = cells(Run.of(asked), place)
    records = run_cells(prepare(jobs), Console(quiet=not progress), again=again)
    return frame_of(Store(place.results), records)


def evaluate_cell(
    trained: Trained,
    results: str | Path,
    dataset: str,
    splits: str | Sequence[str] = (),
    *,
    data: str | Path | None = None,
    text: str = "original",
    text_seed: int = 0,
    limit: int | None = None,
    workers: int = 0,
    progress: bool = True,
) -> list[CellEvaluation]:
    """Evaluate a trained cell on other data, or in other words for the same objects: `barbench evaluate --cell`.

    Each evaluation is kept beside the cell and not run again.

    Args:
        trained: from `load_cell`.
        results: the folder that the cell is from.
        dataset: what to evaluate on.
        splits: its evaluation splits; none for all.
        data: as for `open_data`; None: $BARBENCH_DATA, and without that the embedded benchmark.
        text: `original`, `shuffle`, `drop-descriptors`, `category`, `empty`, `same-category` or `other-image`.
        text_seed: of the draws of a variant.
        limit: number of images of each split; None: all.
        workers: as for `fit`.
        progress: as for `fit`.

    Returns:
        One evaluation per split: `found.record` with scores, with and without images that trained the cell, and
        `found.columns` with the counts of each expression; `original`, the same in the data's words, for another text.

    Raises:
        UnknownName: for a dataset, a split or a text that does not exist.
        UsageError: for a limit that is no whole number from 1 on.
        MissingData: if a file of the data is absent.
        DataError: if one is damaged.
    """
    if limit is not None:
        _check_whole("limit", limit, 1)
    _check_whole("text_seed", text_seed, 0)
    _check_whole("workers", workers, 0)
    keys = (splits,) if isinstance(splits, str) else tuple(splits)
    asked = Elsewhere(None if data is None else str(data), dataset, keys, text, text_seed, limit, workers)
    return evaluate_elsewhere(Store(Path(results)), trained, asked, lambda title: progress_bar(title, progress))


def _as_listed(value: Any) -> Any:
    """A list as the tuple that fields of a run are."""
    return tuple(value) if isinstance(value, list) else value


def load_cell(
    results: str | Path,
    name: str,
    *,
    seed: int | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    recipe: str | None = None,
    device: str = "auto",
    backbone_folder: str | Path | None = None,
    weights_file: str | Path | None = None,
) -> Trained:
    """The trained model of a finished cell.

    Args:
        results: the folder of the records.
        name: a method, a title, or a cell by its id.
        seed: of the cell; None: the smallest that there is.
        dataset: what the cell was trained on, if there are several.
        backbone: of the cell, if there are several.
        recipe: of the cell by name, if there are several.
        device: as for `fit`.
        backbone_folder: where the backbone is, if it was a folder.
        weights_file: where its weights are, if they were a file.

    Returns:
        `record`; `segmenter`, for `evaluate` and `predict`; and `find(photo, expressions)`.

    Raises:
        UnknownName: for a name that no finished cell has.
        UsageError: if the name is not clear, or if the backbone is not that of the cell.
        DataError: if the cell's weights are missing or damaged.
    """
    store = Store(Path(results))
    # Every seed of the cell that the name means, the smallest first.
    found = runs(store.all(), name, {"dataset": dataset, "backbone": backbone, "recipe": recipe})
    chosen = [record for record in found if seed in (None, record.cell.seed)]
    if not chosen:
        seeds = ", ".join(str(record.cell.seed) for record in found)
        raise UsageError(f"{name!r} has no cell with seed {seed}; there are {seeds}")
    folder = None if backbone_folder is None else str(backbone_folder)
    file = None if weights_file is None else str(weights_file)
    return load_trained(store, chosen[0], pick_device(device), folder, file)
