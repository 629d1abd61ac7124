"""`barbench evaluate` and `predict`: one trained model, on data or on a photo."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from barbench.commands import options as opt
from barbench.commands.stored import open_store
from barbench.errors import UnknownName, UsageError
from barbench.listing import Format, print_notes, print_rows, progress_bar
from barbench.spec.dataset import DATASETS, resolve_dataset
from barbench.spec.recipe import EVAL_BATCH, THRESHOLD
from barbench.spec.run import AUTO, MAX_SEED
from barbench.spec.text import split_list

Codebase = Literal["etris", "cris", "barleria", "detris"]


def evaluate(
    ctx: typer.Context,
    weights: Annotated[
        Path | None,
        typer.Option(
            help=".pth file that the authors' public code wrote; with --cell the file or folder of the backbone's "
            "weights, if the cell has them from one",
            show_default="none",
        ),
    ] = None,
    codebase: Annotated[
        Codebase | None,
        typer.Option(
            "--codebase",
            "--layout",
            help="code that wrote the .pth file; detris needs --backbone dinov2-b or -l",
            show_default="none",
        ),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            help="trained cell to evaluate, instead of a .pth file: method, id, or the start of its record's file name",
            show_default="none",
        ),
    ] = None,
    datasets: Annotated[
        str, typer.Option("--dataset", help=f"dataset to evaluate on: {opt.DATASETS_HELP}", rich_help_panel=opt.DATA)
    ] = "refcoco+",
    splits: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="evaluation splits of the dataset, a comma list",
            show_default="all",
            rich_help_panel=opt.DATA,
        ),
    ] = None,
    data: opt.DataOption = None,
    text: Annotated[
        Literal["original", "shuffle", "drop-descriptors", "category", "empty", "same-category", "other-image"],
        typer.Option(help="words of the expressions, for a --cell: the data's, or others", rich_help_panel=opt.DATA),
    ] = "original",
    text_seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="seed of the draws of --text", rich_help_panel=opt.DATA)
    ] = 0,
    limit: opt.LimitOption = None,
    exif: opt.ExifOption = "stored",
    backbone: Annotated[
        str | None,
        typer.Option(
            help="name of an open_clip CLIP ViT; with --cell the folder of its backbone, if it has one from a folder",
            show_default="ViT-B-16-quickgelu, that of the cell",
            rich_help_panel=opt.BACKBONES,
        ),
    ] = None,
    image_size: opt.ImageSizeOption = None,
    context_length: Annotated[
        int | None,
        typer.Option(
            "--context",
            min=3,
            max=1024,
            help="tokens of an expression for a .pth file, start and end included; detris has no default",
            show_default="the dataset's own",
        ),
    ] = None,
    device: opt.DeviceOption = AUTO,
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=65_536, help="images per forward pass of a .pth file", show_default=str(EVAL_BATCH)),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="probability above which a pixel is in the mask of a .pth file",
            show_default=str(THRESHOLD),
        ),
    ] = None,
    results: opt.ResultsOption = Path("results"),
    format_: opt.FormatOption = Format.table,
) -> None:
    """Evaluate a trained cell on other data or in other words, or an official checkpoint on every evaluation split.

    An evaluation of a cell has a record of its own, beside the cell's; every parameter name of a checkpoint must match.
    """
    names = split_list(datasets)
    keys = split_list(splits or "")
    # `--split` named data sets before it named splits.
    if cell is None and keys and all(key in DATASETS for key in keys):
        names = keys
        keys = []
    if cell is not None:
        for name, value in (
            ("codebase", codebase),
            ("image-size", image_size),
            ("batch", batch),
            ("threshold", threshold),
            ("context", context_length),
        ):
            if value is not None:
                raise UsageError(f"--{name} is for a .pth file; a cell is evaluated as its record says")
        if len(names) != 1:
            raise UsageError("--cell is evaluated on one --dataset at a time")
        _evaluate_cell(cell, names[0], keys, ctx.params)
        return
    if weights is None or codebase is None:
        raise UsageError("give --cell NAME for a trained cell, or --weights FILE.pth and --codebase for a checkpoint")
    if keys or text != "original" or limit is not None:
        raise UsageError("--split, --text and --limit are for a --cell")
    _evaluate_official(weights, codebase, names, ctx.params)


def _evaluate_cell(name: str, dataset: str, keys: list[str], given: Mapping[str, Any]) -> None:
    """Evaluate a cell, and print a row per split."""
    from barbench.datasets.sources import data_root
    from barbench.results.select import one

    # Names are checked before torch is imported.
    found = resolve_dataset(dataset, data_root(given["data"]))
    every = [split.key for split in found.evaluation_splits]
    for key in keys:
        if key not in every:
            raise UnknownName("evaluation split", key, every)
    with open_store(given["results"]) as store:
        record = one(store.all(), name)
    if given["exif"] != record.cell.exif and given["exif"] != "stored":
        raise UsageError(f"--exif {given['exif']}: images of this cell are read as {record.cell.exif}")
    from barbench.benchmarks.cell_model import load_trained
    from barbench.benchmarks.elsewhere import Elsewhere, evaluate_elsewhere, notes, row
    from barbench.benchmarks.execution.host.devices import pick_device

    file = None if given["weights"] is None else str(given["weights"])
    trained = load_trained(store, record, pick_device(given["device"]), given["backbone"], file)
    asked = Elsewhere(given["data"], dataset, tuple(keys), given["text"], given["text_seed"], given["limit"])
    outcomes = evaluate_elsewhere(store, trained, asked, progress_bar)
    print_rows([row(outcome) for outcome in outcomes], given["format_"], title=f"{record.title} ({record.id})")
    print_notes(notes(outcomes))


def _evaluate_official(weights: Path, codebase: Codebase, names: list[str], given: Mapping[str, Any]) -> None:
    """Evaluate a checkpoint, and print a row per split."""
    if codebase == "detris" and given["context_length"] is None:
        raise UsageError(
            "--codebase detris: its results depend on its number of tokens, which the file does not say; "
            "its configurations have --context 17, and 22 for refcocog-u"
        )
    from barbench.benchmarks.matrix import check_backbone, choose_datasets
    from barbench.datasets.refer import data_files
    from barbench.datasets.sources import data_root

    if not weights.is_file():
        raise UsageError(f"--weights {weights}: there is no such file")
    backbone = given["backbone"] or "ViT-B-16-quickgelu"
    data = given["data"]
    chosen = choose_datasets(names, data, given["context_length"], given["exif"])
    context_length = max(dataset.context_length for dataset in chosen)
    check_backbone(backbone, given["image_size"], context_length=context_length)
    # Files that are missing are named before torch is imported.
    root = data_root(data)
    if root is not None:
        for dataset in chosen:
            for partition in dataset.partitions:
                data_files(root, partition)
    from barbench.benchmarks.execution.host.devices import pick_device
    from barbench.benchmarks.official import evaluate_official, load_official

    segmenter = load_official(weights, codebase, backbone, given["image_size"])
    device = pick_device(given["device"])
    batch = given["batch"] or EVAL_BATCH
    threshold = THRESHOLD if given["threshold"] is None else given["threshold"]
    rows = evaluate_official(segmenter, chosen, data, device, batch, threshold, Console(stderr=True))
    print_rows(rows, given["format_"], title=f"{weights.name} ({codebase})")


def predict(
    photo: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="image file")],
    expressions: Annotated[list[str], typer.Argument(help='one or more expressions, each in quotes: "the man in red"')],
    cell: Annotated[str, typer.Option(help="trained cell to use: method, id, or the start of its record's file name")],
    backbone: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="folder of the backbone, if the cell has one from a folder"),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="file or model folder of the backbone's weights, if the cell has them from one; VISION,TEXT for a "
            "pair of models"
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="probability above which a pixel is in the mask",
            show_default="the cell's recipe",
        ),
    ] = None,
    device: opt.DeviceOption = AUTO,
    results: opt.ResultsOption = Path("results"),
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="PNG file to write", show_default="PHOTO-found.png in this folder"),
    ] = None,
    format_: opt.FormatOption = Format.table,
) -> None:
    """Mask the object that each expression refers to, in your own photo.

    Coverage is the mask's share of the photo's pixels, score the mean probability inside the mask.
    """
    from barbench.datasets.pixels.photo import read_photo
    from barbench.results.select import one

    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: the overlay is a PNG; give a name that ends in .png")
    _refuse_files(expressions)
    if weights is not None and not _is_there(weights):
        raise UsageError(f"--weights {weights}: there is no such file or folder")
    # The photo and the cell, before torch is imported.
    pixels = read_photo(photo)
    with open_store(results) as store:
        record = one(store.all(), cell)
    from barbench.benchmarks.cell_model import load_trained
    from barbench.benchmarks.execution.host.devices import pick_device
    from barbench.reports.panels import write_found

    folder = None if backbone is None else str(backbone)
    file = None if weights is None else str(weights)
    trained = load_trained(store, record, pick_device(device), folder, file)
    found = trained.find(pixels, expressions, threshold)
    # An overlay, a row per expression, and a note where words were lost.
    path = out or Path(f"{photo.stem}-found.png")
    write_found(pixels, found, path)
    rows = [
        {"expression": each.expression, "coverage": each.coverage, "score": each.score, "peak": each.peak}
        for each in found
    ]
    print_rows(rows, format_, title=f"{trained.record.title} ({trained.record.id}); overlay in {path}")
    print_notes(f"{each.expression!r} is longer than the context and was cut" for each in found if each.cut)


def _is_there(weights: Path) -> bool:
    """Whether weights are a file or a folder, or a pair of which one is."""
    if weights == Path():
        return False
    return any(Path(part).exists() for part in str(weights).split(","))


def _refuse_files(expressions: list[str]) -> None:
    """UsageError for an expression that is a file: a shell makes several words of `*.jpg`."""
    for expression in expressions:
        if os.path.isfile(expression):  # not Path.is_file, which raises for a long expression
            raise UsageError(
                f"{expression} is a file and would be taken for an expression; `predict` looks at one photo: give one "
                "file, then the expressions in quotes"
            )
