"""`barbench evaluate` and `predict`: one trained model, on data or on a photo."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from barbench.commands.options import (
    BackboneOption,
    DataOption,
    DatasetsOption,
    DeviceOption,
    ExifOption,
    FormatOption,
    ImageSizeOption,
    ResultsOption,
    ThresholdOption,
)
from barbench.errors import UsageError
from barbench.listing import Format, print_notes, print_rows
from barbench.spec.recipe import EVAL_BATCH, THRESHOLD
from barbench.spec.run import AUTO
from barbench.spec.text import split_list


def evaluate(
    weights: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help=".pth file that the authors' public code wrote")
    ],
    codebase: Annotated[
        Literal["etris", "cris", "barleria", "detris"],
        typer.Option("--codebase", "--layout", help="code that wrote the file; detris needs --backbone dinov2-b or -l"),
    ],
    datasets: DatasetsOption = "refcoco+",
    data: DataOption = None,
    exif: ExifOption = "stored",
    backbone: BackboneOption = "ViT-B-16-quickgelu",
    image_size: ImageSizeOption = None,
    context_length: Annotated[
        int | None,
        typer.Option(
            "--context",
            min=3,
            max=1024,
            help="tokens of an expression, start and end included; detris has no default",
            show_default="the dataset's own",
        ),
    ] = None,
    device: DeviceOption = AUTO,
    batch: Annotated[int, typer.Option(min=1, max=65_536, help="images per forward pass")] = EVAL_BATCH,
    threshold: ThresholdOption = THRESHOLD,
    format_: FormatOption = Format.table,
) -> None:
    """Evaluate an official checkpoint on every evaluation split; every parameter name must match.

    \f
    Raises:
        UnknownName: for an unknown dataset or backbone.
        UsageError: for DETRIS without a number of tokens.
        DataError: if the checkpoint is absent or does not fit.
    """
    if codebase == "detris" and context_length is None:
        raise UsageError(
            "--codebase detris: its results depend on its number of tokens, which the file does not say; "
            "its configurations have --context 17, and 22 for refcocog-u"
        )
    from barbench.benchmarks.matrix import check_backbone, choose_datasets
    from barbench.datasets.refer import data_files
    from barbench.datasets.sources import data_root

    chosen = choose_datasets(split_list(datasets), data, context_length, exif)
    check_backbone(backbone, image_size, context_length=max(dataset.context_length for dataset in chosen))
    root = data_root(data)
    if root is not None:
        for dataset in chosen:
            for partition in dataset.partitions:
                data_files(root, partition)
    from barbench.benchmarks.execution.host.devices import pick_device
    from barbench.benchmarks.official import evaluate_official, load_official

    segmenter = load_official(weights, codebase, backbone, image_size)
    rows = evaluate_official(segmenter, chosen, data, pick_device(device), batch, threshold, Console(stderr=True))
    print_rows(rows, format_, title=f"{weights.name} ({codebase})")


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
    device: DeviceOption = AUTO,
    results: ResultsOption = Path("results"),
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="PNG file to write", show_default="PHOTO-found.png in this folder"),
    ] = None,
    format_: FormatOption = Format.table,
) -> None:
    """Mask the object that each expression refers to, in your own photo.

    Coverage is the mask's share of the photo's pixels, score the mean probability inside the mask.

    \f
    Raises:
        UsageError: if --out is not a PNG, if an expression is a file, or if several cells match.
        DataError: if the photo or the cell's weights cannot be used.
    """
    from barbench.datasets.pixels.photo import read_photo
    from barbench.results.select import one
    from barbench.results.store import Store

    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: the overlay is a PNG; give a name that ends in .png")
    _refuse_files(expressions)
    if weights is not None and not _is_there(weights):
        raise UsageError(f"--weights {weights}: there is no such file or folder")
    pixels = read_photo(photo)
    store = Store(results)
    try:
        record = one(store.all(), cell)
    finally:
        print_notes(store.notes())
    from barbench.benchmarks.cell_model import load_trained
    from barbench.benchmarks.execution.host.devices import pick_device
    from barbench.reports.panels import write_found

    folder = None if backbone is None else str(backbone)
    file = None if weights is None else str(weights)
    trained = load_trained(store, record, pick_device(device), folder, file)
    found = trained.find(pixels, expressions, threshold)
    path = out or Path(f"{photo.stem}-found.png")
    write_found(pixels, found, path)
    rows = [
        {"expression": each.expression, "coverage": each.coverage, "score": each.score, "peak": each.peak}
        for each in found
    ]
    print_rows(rows, format_, title=f"{trained.record.title} ({trained.record.id}); overlay in {path}")
    for each in found:
        if each.cut:
            print(f"note: {each.expression!r} is longer than the context and was cut", file=sys.stderr)


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
