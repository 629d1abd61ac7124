"""The cells of a run: methods x backbones x datasets x seeds, each with everything that can change its result."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from barbench.benchmarks.job import Files, Job
from barbench.datasets.overlap import read_outlines
from barbench.datasets.sources import SHAPES_MARK, DataSource, data_root, find_source
from barbench.datasets.subset import image_counts
from barbench.errors import UsageError
from barbench.methods.catalog import MethodSpec
from barbench.methods.resolve import check_rates, resolve
from barbench.methods.scaling import follows_width
from barbench.methods.suites import SUITES
from barbench.paper.partitions import PAPER_PARTITIONS, Exif
from barbench.paper.tables import DEFAULT, Block, embedded_for, needed
from barbench.progress import OnProgress
from barbench.results.record import Cell, DataIdentity, Subset
from barbench.spec.backbone import (
    CONFIG,
    EMBEDDED,
    HEAD,
    HEAD_WEIGHTS,
    MERGES,
    OWN_HEAD,
    PRETRAINED,
    RANDOM,
    WEIGHTS,
    BackboneConfig,
    HeadChoice,
    NeckName,
    backbone_config,
    check_weights,
    split_weights,
)
from barbench.spec.dataset import Dataset, resolve_dataset
from barbench.spec.recipe import Recipe
from barbench.spec.run import Place, Run
from barbench.spec.text import listed, method_options
from barbench.spec.weights import digest, weights_file


class Part(NamedTuple):
    """Cells that share backbones, weights and a recipe: a block of a table, or the whole run.

    Attributes:
        options: by method name, `component.parameter` to value.
        backbones: names or folders.
        heads: every method is run with each.
    """

    methods: list[MethodSpec]
    options: Mapping[str, Mapping[str, Any]]
    backbones: list[str]
    weights: str | None
    datasets: list[Dataset]
    recipe: Recipe
    heads: tuple[HeadChoice, ...] = (OWN_HEAD,)


class Row(NamedTuple):
    """A method on one backbone.

    Attributes:
        options: `component.parameter` to value, those that its name has included.
        scaled: those of the options that follow the backbone's width; None: all sizes are the published ones.
    """

    method: MethodSpec
    options: Mapping[str, Any]
    scaled: tuple[str, ...] | None
    composition: tuple[str, ...]


def cells(run: Run, place: Place, progress: OnProgress | None = None) -> list[Job]:
    """The cells that are asked for, each once, ordered by backbone, dataset, seed and method.

    All arguments are checked before any data are made.

    Args:
        progress: called with the images drawn and all images, where shapes are made.

    Raises:
        UsageError: for arguments that are wrong or do not go together, options that a method does not have, and a
            method that cannot be used on a backbone.
        UnknownName: for a name that is not registered.
        MissingData: if the data root lacks a file.
    """
    parts = select(run)
    sources: dict[str, DataSource] = {}
    for part in parts:
        for dataset in part.datasets:
            if dataset.name not in sources:
                sources[dataset.name] = find_source(run.data, dataset, progress)
    return cells_of(run, place, parts, sources)


def cells_of(run: Run, place: Place, parts: Sequence[Part], sources: Mapping[str, DataSource]) -> list[Job]:
    """The cells of some parts, as `cells` gives them; `sources` are the data of each dataset by its name."""
    # How many images a limit leaves is counted once per data set.
    subsets: dict[str, Subset | None] = {}
    for part in parts:
        for dataset in part.datasets:
            if dataset.name not in subsets:
                subsets[dataset.name] = subset_of(run, dataset, sources[dataset.name])
    # Blocks of tables overlap: each cell once.
    jobs: dict[str, Job] = {}
    for part in parts:
        for backbone in part.backbones:
            fitted = [_fit(run, part, backbone, method) for method in part.methods]
            for head, dataset, seed, row in product(part.heads, part.datasets, run.seeds, fitted):
                source = sources[dataset.name]
                job = _job(run, place, part, backbone, head, dataset, seed, row, source, subsets[dataset.name])
                jobs.setdefault(job.cell.id(), job)
    return list(jobs.values())


def subset_of(run: Run, dataset: Dataset, source: DataSource) -> Subset | None:
    """The images that the limits of a run leave of a data set; None where they leave all."""
    if run.limit is None and run.limit_train is None:
        return None
    # A limit that leaves all images is none: such a cell is that of a run without it.
    counts = image_counts(dataset, read_outlines(source.root, dataset.partitions))
    train = None
    if run.limit_train is not None and run.limit_train < counts.train:
        train = run.limit_train
    evaluate = None
    if run.limit is not None and run.limit < max(counts.evaluate.values()):
        evaluate = run.limit
    if train is None and evaluate is None:
        return None
    return Subset(train=train, evaluate=evaluate)


def _fit(run: Run, part: Part, backbone: str, method: MethodSpec) -> Row:
    """A method with the options for a backbone; UnfitBackbone where it cannot be used there."""
    # What the user or the method's name gives is not scaled.
    config = backbone_config(backbone)
    given = part.options.get(method.name, {})
    options = {**method.options, **given}
    scaled = None
    if follows_width(config, run.proportion):
        sizes = method.proportion(config, given)
        scaled = tuple(sorted(sizes.keys() - options.keys()))
        options |= sizes
    made = method.create_for(backbone, options, run.image_size)
    return Row(method, options, scaled, tuple(made.composition()))


def select(run: Run) -> list[Part]:
    """Look up everything that a run names, and check it, without torch and before any data are made.

    What is named beside a table replaces what the table says, except for data sets, which choose among the table's. On
    shapes every backbone is the embedded one that stands for it, and every recipe is the demo, or the suite's.
    """
    blocks = [DEFAULT] if run.tables is None else needed(run.tables)
    shapes = _is_shapes(run.data)
    datasets = _choose_datasets(run, blocks)
    asked = []
    for block, chosen in zip(blocks, datasets, strict=True):
        # Rows of a suite depend on the backbone.
        names = _choose_backbones(run, block, shapes)
        together = [names] if run.suite is None else [[name] for name in names]
        for group in together:
            asked.append((block, chosen, group, _choose_methods(run, block, group)))
    every = {spec.name: spec for _, _, _, specs in asked for spec in specs}
    options = method_options(run.options, list(every.values()))
    check_weights(run.weights)
    parts = []
    for block, chosen, names, specs in asked:
        if not chosen:  # a block of which no data set was asked for
            continue
        for name in names:
            check_backbone(name, run.image_size, run.weights, max(dataset.context_length for dataset in chosen))
        default_recipe = block.recipe
        if shapes:
            default_recipe = "demo" if run.suite is None else SUITES.get(run.suite).shapes_recipe
        recipe = run.recipe_or(default_recipe)
        check_rates(recipe.rates, specs)
        heads = _choose_heads(run)
        _check_heads(heads, specs, names, recipe)
        standard = shapes or run.backbones is not None
        part = Part(
            methods=specs,
            options={spec.name: options[spec.name] for spec in specs if spec.name in options},
            backbones=names,
            weights=run.weights or (None if standard else block.weights),
            datasets=chosen,
            recipe=recipe,
            heads=heads,
        )
        parts.append(part)
    return parts


def _is_shapes(data: str | None) -> bool:
    """Whether data are generated: the embedded benchmark's, or a folder that `data make-shapes` wrote."""
    root = data_root(data)
    return root is None or (root / SHAPES_MARK).exists()


def _choose_datasets(run: Run, blocks: Sequence[Block]) -> list[list[Dataset]]:
    """The data sets of each block; UsageError for one that has no training set, or that the tables do not have."""
    # The data sets of each block, where none are asked for.
    own = [choose_datasets(block.datasets, None, run.context_length, run.exif) for block in blocks]
    if run.datasets is None:
        return own
    wanted = choose_datasets(run.datasets, run.data, run.context_length, run.exif)
    only = [dataset.name for dataset in wanted if not dataset.trains]
    if only:
        raise UsageError(f"{', '.join(only)}: nothing to train on; evaluate cells there that another data set trained")
    if run.tables is None:
        return [wanted]
    # Of tables only those are run that they have.
    available = {dataset.name: dataset for chosen in own for dataset in chosen}
    strange = [dataset.name for dataset in wanted if dataset not in available.values()]
    if strange:
        tables = f"table {run.tables[0]} has" if len(run.tables) == 1 else f"tables {listed(run.tables)} have"
        raise UsageError(f"--dataset {', '.join(strange)}: {tables} {', '.join(available)}")
    matching = []
    for chosen in own:
        matching.append([dataset for dataset in chosen if dataset in wanted])
    return matching


def _choose_backbones(run: Run, block: Block, shapes: bool) -> list[str]:
    """As asked for, else the suite's or the block's own; on shapes, the embedded ones that stand for them."""
    if run.backbones is not None:
        return list(run.backbones)
    own: Sequence[str] = (block.backbone,)
    if run.suite is not None:
        own = SUITES.get(run.suite).backbones or own
    if shapes:
        return [embedded_for(name) for name in own]
    return list(own)


def _choose_heads(run: Run) -> tuple[HeadChoice, ...]:
    """As asked for; without a neck, the suite's, or each backbone's own."""
    necks: Sequence[NeckName | None] = run.necks or ()
    # A linear head has no neck.
    if run.suite is not None and run.necks is None and run.head_form != "linear":
        necks = SUITES.get(run.suite).necks
    return tuple(HeadChoice(neck, run.head_form) for neck in necks or (None,))


def _check_heads(
    heads: Sequence[HeadChoice], methods: Sequence[MethodSpec], backbones: Sequence[str], recipe: Recipe
) -> None:
    """Refuse a head that a method, a backbone or the recipe does not go with."""
    for head in heads:
        for spec in methods:
            spec.check_head(head)
        # Where a neck can be chosen, the head that ships fits its own alone.
        free = [spec for spec in methods if spec.neck is None]
        for name in backbones:
            config = backbone_config(name)
            changed = head.changed(config.head) != OWN_HEAD
            if free and changed and recipe.head == "shipped" and _ships_head(config):
                raise UsageError(
                    f"the recipe starts from the head that ships with {name}, a {config.head.form} one with the neck "
                    f"{config.head.neck}: it does not fit {head.words}; start every head at random with --set "
                    "head=random"
                )


def _choose_methods(run: Run, block: Block, backbones: Sequence[str]) -> list[MethodSpec]:
    """The methods of a block; those of a suite are the rows for the backbone, of which there is one."""
    if run.suite is None:
        return resolve(block.methods if run.methods is None else run.methods)
    if run.methods is not None:
        raise UsageError("give --methods or --suite, not both")
    (name,) = backbones
    config = backbone_config(name)
    return SUITES.get(run.suite).methods(config.width, config.aligned)


def _job(
    run: Run,
    place: Place,
    part: Part,
    backbone: str,
    head: HeadChoice,
    dataset: Dataset,
    seed: int,
    row: Row,
    source: DataSource,
    subset: Subset | None,
) -> Job:
    """One cell of the matrix."""
    config = backbone_config(backbone)
    weights, weights_file = identify_weights(backbone, part.weights)
    method = row.method
    recipe = _with_head(part.recipe.of(method.base_name, method.reference), config, method)
    # What the backbone has anyway, or the method needs, is no choice of the user's.
    changed = OWN_HEAD if method.neck else head.changed(config.head)
    cell = Cell(
        method=method.reference or method.name,
        options=dict(row.options),
        scaled=row.scaled,
        backbone=identify_backbone(backbone),
        weights=weights,
        image_size=config.image_size(run.image_size),
        dataset=dataset.name,
        recipe=recipe.fields(),
        held_out=run.held_out,
        context_length=dataset.changed_context,
        exif=dataset.exif,
        neck=changed.neck,
        head_form=changed.form,
        seed=seed,
        data=DataIdentity(kind=source.kind, fingerprint=source.fingerprint),
        precision=run.precision,
        processes=place.processes,
        subset=subset,
    )
    return Job(
        cell=cell,
        dataset=dataset,
        place=place,
        files=Files(backbone=backbone, weights=weights_file, data=source.root),
        title=method.title,
        composition=row.composition,
    )


def _with_head(recipe: Recipe, config: BackboneConfig, method: MethodSpec) -> Recipe:
    """The recipe with a random head if the backbone ships with none for the method; its record says so."""
    fits = method.neck in (None, config.head.neck)
    if recipe.head == "random" or (fits and _ships_head(config)):
        return recipe
    return recipe.model_copy(update={"head": "random"})


def _ships_head(config: BackboneConfig) -> bool:
    """Whether a trained head ships with a backbone."""
    return config.folder is not None and (config.folder / HEAD_WEIGHTS).is_file()


def check_backbone(
    name: str, image_size: int | None = None, weights: str | None = None, context_length: int | None = None
) -> None:
    """Check arguments that go with a backbone, without torch; None is the backbone's own, or any context length.
    UsageError for what the backbone does not have or cannot do."""
    config = backbone_config(name)
    config.image_size(image_size)
    check_weights(weights, config)
    if context_length is not None and context_length > config.context_length:
        raise UsageError(
            f"a context of {context_length} tokens is longer than {config.name}'s, which is {config.context_length}"
        )


def identify_backbone(name: str) -> str:
    """What stands for a backbone in a cell: its name; for a user's folder, its name and a hash of its configuration."""
    folder = backbone_config(name).folder
    if folder is None or name in EMBEDDED:
        return name
    digest = hashlib.sha256()
    for file in (CONFIG, MERGES, HEAD):
        if (folder / file).is_file():
            digest.update((folder / file).read_bytes())
    return f"{folder.resolve().name}@{digest.hexdigest()[:8]}"


def identify_weights(backbone: str, weights: str | None) -> tuple[str, str | None]:
    """What stands for weights in a cell.

    Args:
        weights: a tag, a file or a model folder, or a pair of them; None for the backbone's default.

    Returns:
        A tag and None; or a file's name with a hash of its content, and the file. Where a pair of models has a file,
            both are pairs.

    Raises:
        UsageError: if the backbone has no default.
    """
    config = backbone_config(backbone)
    weights = weights or config.default_weights()
    if config.pair is not None and weights == RANDOM:
        return RANDOM, None
    # A tag names itself; of a file the cell keeps a hash, and the job the place.
    names = []
    places = []
    for part in split_weights(weights, config):
        path = config.folder / WEIGHTS if config.folder is not None and part == PRETRAINED else weights_file(part)
        if path is None or not path.is_file():
            names.append(part)
            places.append(part)
        else:
            names.append(f"{PRETRAINED if part == PRETRAINED else path.name}@{digest(path)[:8]}")
            places.append(str(path.resolve()))
    return ",".join(names), None if names == places else ",".join(places)


def choose_datasets(
    names: Sequence[str], data: str | None = None, context_length: int | None = None, exif: Exif = "stored"
) -> list[Dataset]:
    """Look data sets up.

    Args:
        names: as `barbench list datasets` has them; `all` alone means the paper's four.
        data: folder with images and annotations, where a user's data sets are looked for; None: $BARBENCH_DATA.
        context_length: tokens of an expression; None: each one's own.
    """
    if not names:
        raise UsageError("no dataset was named; try --dataset refcoco+")
    if list(names) == ["all"]:
        names = PAPER_PARTITIONS.names()
    root = data_root(data)
    return [resolve_dataset(name, root, context_length, exif) for name in dict.fromkeys(names)]
