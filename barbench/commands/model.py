"""`barbench evaluate` and `predict`: one trained model, on data or on a photo."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from barbench.commands.checks import probability
from barbench.commands.options import (
    BackboneOption,
    DataOption,
    DeviceOption,
    ExifChoice,
    ExifOption,
    FormatOption,
    ImageSizeOption,
    ResultsOption,
)
from barbench.errors import UnknownName, UsageError
from barbench.listing import Format, print_rows

RELEASES: tuple[Literal["etris", "cris", "barleria"], ...] = ("etris", "cris", "barleria")


def evaluate(
    weights: Annotated[Path, typer.Option(help=".pth file that the authors' public code wrote")],
    layout: Annotated[str, typer.Option(help=f"whose code wrote the file: {', '.join(RELEASES)}")],
    split: Annotated[str, typer.Option(help="splits to evaluate on, named as for run")] = "refcoco+",
    data: DataOption = None,
    exif: ExifOption = ExifChoice.stored,
    backbone: BackboneOption = "ViT-B-16-quickgelu",
    image_size: ImageSizeOption = None,
    device: DeviceOption = "auto",
    batch: Annotated[int, typer.Option(min=1, help="images per forward pass")] = 32,
    threshold: Annotated[
        float, typer.Option(help="probability above which a pixel is in the mask", callback=probability)
    ] = 0.35,
    format_: FormatOption = Format.table,
) -> None:
    """Evaluate an official checkpoint on every evaluation split; every parameter name must match.

    \f
    Raises:
        UnknownName: for an unknown layout, split or backbone.
        DataError: if the checkpoint is absent or does not fit.
    """
    from barbench.benchmarks.execution.devices import pick_device
    from barbench.benchmarks.official import evaluate_official

    if layout not in RELEASES:
        raise UnknownName("layout", layout, RELEASES)
    console = Console(stderr=True)
    rows = evaluate_official(
        weights, layout, split, data, backbone, image_size, pick_device(device), batch, threshold, console, exif.value
    )
    print_rows(rows, format_, title=f"{weights.name} ({layout})")


def predict(
    photo: Annotated[Path, typer.Argument(help="image file")],
    expressions: Annotated[list[str], typer.Argument(help='one or more expressions, each in quotes: "the man in red"')],
    cell: Annotated[str, typer.Option(help="trained cell to use: method, id, or the start of its record's file name")],
    backbone: Annotated[
        str | None, typer.Option(help="folder of the backbone, if the cell has one from a folder")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="file of the backbone's weights, if the cell has them from a file")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="probability above which a pixel is in the mask",
            show_default="the cell's recipe",
            callback=probability,
        ),
    ] = None,
    device: DeviceOption = "auto",
    results: ResultsOption = Path("results"),
    out: Annotated[
        Path | None, typer.Option(help="PNG file to write", show_default="PHOTO-found.png in this folder")
    ] = None,
    format_: FormatOption = Format.table,
) -> None:
    """Mask the object that each expression refers to, in a photo of your own.

    Coverage is the mask's share of the photo's pixels, score the mean probability inside the mask.

    \f
    Raises:
        UsageError: if --out is not a PNG, or if several cells match.
        DataError: if the photo or the cell's weights cannot be used.
    """
    from barbench.benchmarks.cell_model import load_trained
    from barbench.benchmarks.execution.devices import pick_device
    from barbench.datasets.photo import read_photo
    from barbench.reports.panels import write_found
    from barbench.results.select import one
    from barbench.results.store import Store

    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: the overlay is a PNG; give a name that ends in .png")
    pixels, store = read_photo(photo), Store(results)
    trained = load_trained(store, one(store.all(), cell), pick_device(device), backbone, weights)
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
