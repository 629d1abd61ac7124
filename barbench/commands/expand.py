"""Turns the arguments of `barbench run` into the cells that they ask for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from barbench.benchmarks.job import AUTO, Job
from barbench.benchmarks.matrix import Host, Matrix, check_context, choose_datasets
from barbench.commands.executors import on_gpus
from barbench.commands.options import MAX_SEED
from barbench.datasets.sources import DataSource, cache_folder, chosen_data, find_source
from barbench.errors import UsageError
from barbench.listing import progress_bar
from barbench.methods.catalog import MethodSpec
from barbench.methods.resolve import resolve
from barbench.methods.suites import SUITES
from barbench.models.efficient.kernels import Kernels
from barbench.paper.partitions import Exif
from barbench.paper.tables import DEFAULT, Block, embedded_for, needed
from barbench.spec.backbone import EMBEDDED, RANDOM, backbone_config, check_weights
from barbench.spec.cluster import Cluster
from barbench.spec.dataset import Dataset
from barbench.spec.recipe import Recipe, load_recipe
from barbench.spec.run import table_numbers
from barbench.spec.text import method_options, split_list, whole_numbers

PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """The arguments of `barbench run` as given; None if not given. `changes` are those of `--set`."""

    table: str | None = None
    methods: str | None = None
    suite: str | None = None
    split: str | None = None
    backbone: str | None = None
    weights: str | None = None
    data: str | None = None
    recipe: str | None = None
    changes: Sequence[str] = field(default=())
    options: Sequence[str] = field(default=())
    seeds: str = "0"
    image_size: int | None = None
    precision: str = "fp32"
    device: str = "auto"
    processes: int = 1
    workers: int | None = None
    jobs: int | None = None
    gpus: str | None = None
    executor: str = "local"
    cluster: str | None = None
    cache: str = "auto"
    kernels: Kernels = "auto"
    tracker: str | None = None
    held_out: int = 0
    context: int | None = None
    exif: Exif = "stored"
    results: Path = Path("results")


def expand(request: RunRequest) -> list[Job]:
    """The cells that are asked for, each once: those of the tables named, or those of a matrix.

    Arguments beside a table replace what the table says, except `--split`, which chooses among its splits. On shapes,
    every backbone is the embedded one that stands for it, and every recipe is the demo. All arguments are checked
    before torch is imported and before any data are made.

    Args:
        request: what the user asks for.

    Returns:
        One job per cell.

    Raises:
        UsageError: for arguments that are wrong or do not go together.
        UnknownName: for a name that is not registered.
        MissingData: if the data root lacks a file.
    """
    blocks = [DEFAULT] if request.table is None else needed(table_numbers(request.table))
    methods = [choose_methods(request, block) for block in blocks]
    every = list({spec.name: spec for specs in methods for spec in specs}.values())
    options, seeds = method_options(request.options, every), parse_seeds(request.seeds)
    _check_precision(request)
    tasks = _choose_splits(request, blocks)
    _check_executor(request)
    _check_backbones(request, blocks, [*chain(*tasks)])
    _recipe(request, DEFAULT.recipe)
    with progress_bar("drawing shapes") as progress:
        sources = {t.name: find_source(request.data, t, progress) for t in dict.fromkeys(chain(*tasks))}
    matrices = []
    for block, specs, splits in zip(blocks, methods, tasks, strict=True):
        chosen = {spec.name: options[spec.name] for spec in specs if spec.name in options}
        matrices.append(_matrix(request, block, specs, splits, sources, seeds, chosen))
    if request.executor == "local":  # a cluster's hosts may have other weights than this one
        for matrix in matrices:
            require_weights(matrix.backbones, matrix.weights)
    host = _host(request, [name for matrix in matrices for name in matrix.backbones])
    jobs: dict[str, Job] = {}
    for matrix in matrices:
        jobs |= {job.cell.id(): job for job in matrix.jobs(sources, host) if job.cell.id() not in jobs}
    return list(jobs.values())


def _matrix(
    request: RunRequest,
    block: Block,
    methods: Sequence[MethodSpec],
    tasks: Sequence[Dataset],
    sources: dict[str, DataSource],
    seeds: Sequence[int],
    options: dict[str, dict[str, Any]],
) -> Matrix:
    """The matrix of one block; the arguments of `request` replace the block's own settings."""
    shapes = all(source.kind == "shapes" for source in sources.values())
    standard = shapes or request.backbone is not None
    return Matrix(
        methods=methods,
        backbones=_backbones(request, block, shapes),
        tasks=tasks,
        seeds=seeds,
        recipe=_recipe(request, "demo" if shapes else block.recipe),
        precision=request.precision,
        weights=request.weights or (None if standard else block.weights),
        image_size=request.image_size,
        options=options,
        held_out=request.held_out,
        exif=request.exif,
    )


def _backbones(request: RunRequest, block: Block, shapes: bool) -> list[str]:
    """As asked for, else the block's own; on shapes, the embedded one that stands for it."""
    return split_list(request.backbone or (embedded_for(block.backbone) if shapes else block.backbone))


def _recipe(request: RunRequest, default: str) -> Recipe:
    return load_recipe(request.recipe or default, request.changes)


def _choose_splits(request: RunRequest, blocks: Sequence[Block]) -> list[list[Dataset]]:
    """The splits of each block; UsageError for one that the tables do not have."""
    tasks = [choose_datasets(block.split, None, request.context, request.exif) for block in blocks]
    if request.split is None:
        return tasks
    wanted = choose_datasets(request.split, request.data, request.context, request.exif)
    if request.table is None:
        return [wanted]
    if strange := [t.name for t in wanted if t not in chain(*tasks)]:
        has = ", ".join(dict.fromkeys(t.name for t in chain(*tasks)))
        raise UsageError(f"--split {', '.join(strange)}: table {request.table} has {has}")
    return [[t for t in have if t in wanted] for have in tasks]


def _check_executor(request: RunRequest) -> None:
    if request.cluster is not None:
        if request.executor == "local":
            raise UsageError("--cluster is for --executor slurm or ray")
        Cluster.read(request.cluster)


def _check_backbones(request: RunRequest, blocks: Sequence[Block], tasks: Sequence[Dataset]) -> None:
    """Weights, image size and context of the backbones that were named, or that ship with barbench; of a table's own
    the matrix tells."""
    check_weights(request.weights)
    shapes = chosen_data(request.data) == "shapes"
    named = blocks if shapes or request.backbone is not None else ()
    names = list(dict.fromkeys(chain(*(_backbones(request, block, shapes) for block in named))))
    for name in names:
        check_backbone(name, request.image_size, request.weights, max(task.context_length for task in tasks))
    if request.executor == "local" and request.weights is not None:
        require_weights(names, request.weights)


def check_backbone(
    name: str, image_size: int | None = None, weights: str | None = None, words: int | None = None
) -> None:
    """Check arguments that go with a backbone, without torch.

    Args:
        name: as `backbone_config` takes it.
        image_size: side in pixels; None for the backbone's own.
        weights: as for `check_weights`.
        words: context length in tokens; None for any.

    Raises:
        UsageError: for what the backbone does not have or cannot do.
    """
    config = backbone_config(name)
    config.image_size(image_size)
    check_weights(weights, config)
    check_context(words or 0, config)


def require_weights(backbones: Sequence[str], weights: str | None) -> None:
    """Check that weights are on this machine. Only open_clip knows its tags, so torch is imported for those alone.

    Args:
        backbones: names.
        weights: as given; None for the backbones' default.

    Raises:
        UsageError: if a backbone has no default.
        UnknownName: for weights that a backbone does not have.
        MissingData: if they are not there.
    """
    for name in backbones:
        config = backbone_config(name)
        chosen = weights or config.default_weights()
        check_weights(chosen, config)
        if config.folder is None and chosen != RANDOM and not Path(chosen).is_file():
            from barbench.models.towers.weights import find_weights

            find_weights(config, chosen)


def _check_precision(request: RunRequest) -> None:
    if request.precision not in PRECISIONS:
        raise UsageError(f"--precision is {', '.join(PRECISIONS)}, not {request.precision!r}")
    if request.precision == "fp16" and request.executor != "local":
        if not on_gpus(request):
            raise UsageError("--precision fp16 needs a GPU; on a CPU use fp32 or bf16")
    elif request.precision == "fp16" and request.device in ("auto", "cpu"):
        from barbench.benchmarks.execution.host.devices import pick_device

        if pick_device(request.device) == "cpu":
            raise UsageError("--precision fp16 needs a GPU; on a CPU use fp32 or bf16")


def choose_methods(request: RunRequest, block: Block) -> list[MethodSpec]:
    """The methods of a block.

    Args:
        request: its suite, or its methods, replace the block's own.
        block: one block of a table.

    Returns:
        Methods in order. The sizes of a suite are those for the backbone's width.

    Raises:
        UsageError: if both a suite and methods are given, or if a suite sets sizes by the backbone's width and there
            are backbones of several widths.
        UnknownName: for an unknown suite or method.
    """
    if request.suite is None:
        return resolve(request.methods or block.methods)
    if request.methods is not None:
        raise UsageError("give --methods or --suite, not both")
    suite = SUITES.get(request.suite)
    if not suite.scaled:
        return suite.methods()
    shapes = chosen_data(request.data) == "shapes"
    widths = {backbone_config(name).width for name in _backbones(request, block, shapes)}
    if len(widths) > 1:
        raise UsageError(f"--suite {request.suite} chooses sizes by the backbone's width: give one --backbone")
    return suite.methods(*widths)


def slots_for(request: RunRequest, backbones: Sequence[str]) -> Any:
    """How this host is divided among cells.

    Args:
        request: `device`, `gpus`, `processes` and `jobs` of it.
        backbones: names.

    Returns:
        One slot per cell that runs at a time: one per GPU, or per core of a CPU if all backbones are embedded: two
            cells on one thread each are faster there than one cell on two threads.
    """
    from barbench.benchmarks.execution.host.devices import local_slots

    small = all(name in EMBEDDED for name in backbones)
    return local_slots(request.device, request.gpus, request.processes, request.jobs, small)


def _host(request: RunRequest, backbones: Sequence[str]) -> Host:
    """What is known of where cells run: all but the loaders on this host; on a cluster the rest is settled there."""
    automatic: Path | Literal["auto"] = AUTO
    results, threads = request.results, 0
    if request.executor == "local":
        from barbench.benchmarks.execution.host.devices import pick_device

        slots = slots_for(request, backbones)
        device = "cuda" if slots[0].gpus else pick_device("cpu" if request.gpus == "none" else request.device)
        threads = max(1, slots[0].cores // request.processes)
        automatic = cache_folder()
    else:
        results, device = results.resolve(), "cuda" if on_gpus(request) else "cpu"
    return Host(
        results=results,
        device=device,
        processes=request.processes,
        threads=threads,
        workers=request.workers,
        cache={"off": None, AUTO: automatic}.get(request.cache, Path(request.cache)),
        kernels=request.kernels,
        tracker=request.tracker,
    )


def parse_seeds(text: str) -> list[int]:
    """Read `--seeds`.

    Args:
        text: a comma list.

    Returns:
        Each seed once, in order.

    Raises:
        UsageError: for an empty list, and for anything but whole numbers from 0 on.
    """
    seeds = whole_numbers(text, "--seeds")
    if not seeds:
        raise UsageError("--seeds is empty; try --seeds 0")
    if not all(0 <= seed <= MAX_SEED for seed in seeds):
        raise UsageError(f"--seeds are from 0 to {MAX_SEED}, not {text}")
    return list(dict.fromkeys(seeds))
