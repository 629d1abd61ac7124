"""`barbench evaluate` and `predict`: one trained model, on data or on a photo."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from barbench.commands.checks import probability
from barbench.commands.options import Backbone, Data, Device, FormatOption, ImageSize, Results
from barbench.errors import UnknownName, UsageError
from barbench.listing import Format, print_rows

RELEASES: tuple[Literal["etris", "cris", "barleria"], ...] = ("etris", "cris", "barleria")


def evaluate(
    weights: Annotated[Path, typer.Option(help="a .pth that the authors' public code wrote")],
    format_: Annotated[str, typer.Option("--format", help=f"whose: {', '.join(RELEASES)}")],
    split: Annotated[str, typer.Option(help="as for run")] = "refcoco+",
    data: Data = None,
    backbone: Backbone = "ViT-B-16-quickgelu",
    image_size: ImageSize = None,
    device: Device = "auto",
    batch: Annotated[int, typer.Option(min=1)] = 32,
    threshold: Annotated[
        float, typer.Option(help="probability above which a pixel is in the mask", callback=probability)
    ] = 0.35,
    out: Annotated[Format, typer.Option("--output", help="how to print it")] = Format.table,
) -> None:
    """Evaluate an official checkpoint on every evaluation split; it must fit name by name."""
    from barbench.benchmarks.execution.devices import pick_device
    from barbench.benchmarks.official import evaluate_official

    if format_ not in RELEASES:
        raise UnknownName("format", format_, RELEASES)
    console = Console(stderr=True)
    rows = evaluate_official(
        weights, format_, split, data, backbone, image_size, pick_device(device), batch, threshold, console
    )
    print_rows(rows, out, title=f"{weights.name} ({format_})")


def predict(
    photo: Annotated[Path, typer.Argument(help="any image file")],
    expressions: Annotated[list[str], typer.Argument(help='one or several, each in quotes: "the man in red"')],
    cell: Annotated[str, typer.Option(help="a trained cell: method, id, or the start of its record's file name")],
    backbone: Annotated[str | None, typer.Option(help="folder, where the cell's backbone is one")] = None,
    weights: Annotated[str | None, typer.Option(help="file, where the backbone's weights are one")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="probability above which a pixel is in the mask  [default: the recipe's]", callback=probability
        ),
    ] = None,
    device: Device = "auto",
    results: Results = Path("results"),
    out: Annotated[Path | None, typer.Option(help="PNG to write  [default: PHOTO-found.png here]")] = None,
    format_: FormatOption = Format.table,
) -> None:
    """Mask what each expression means in a photo of your own.

    Coverage is the mask's share of the photo's pixels, score the mean probability inside the mask.
    """
    from barbench.benchmarks.cell_model import find_in_photo, load_trained
    from barbench.benchmarks.execution.devices import pick_device
    from barbench.datasets.photo import read_photo
    from barbench.reports.panels import write_found
    from barbench.results.select import one
    from barbench.results.store import Store

    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: the overlay is a PNG; give a name that ends in .png")
    pixels, store = read_photo(photo), Store(results)
    trained = load_trained(store, one(store.all(), cell), pick_device(device), backbone, weights)
    found = find_in_photo(trained, pixels, expressions, threshold)
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
