"""`barbench evaluate`: one trained model, on data."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from barbench.commands.options import Backbone, Data, ImageSize
from barbench.errors import UnknownName
from barbench.listing import Format, print_rows

RELEASES: tuple[Literal["etris", "cris", "barleria"], ...] = ("etris", "cris", "barleria")


def evaluate(
    weights: Annotated[Path, typer.Option(help="a .pth that the authors' public code wrote")],
    format_: Annotated[str, typer.Option("--format", help=f"whose: {', '.join(RELEASES)}")],
    split: Annotated[str, typer.Option(help="as for run")] = "refcoco+",
    data: Data = None,
    backbone: Backbone = "ViT-B-16-quickgelu",
    image_size: ImageSize = None,
    device: Annotated[str, typer.Option(help="auto, cpu, or what torch knows")] = "auto",
    batch: Annotated[int, typer.Option(min=1)] = 32,
    threshold: Annotated[float, typer.Option(help="probability above which a pixel is in the mask")] = 0.35,
    out: Annotated[Format, typer.Option("--output", help="how to print it")] = Format.table,
) -> None:
    """Evaluate an official checkpoint on every evaluation split; it must fit name by name."""
    from barbench.benchmarks.command import pick_device
    from barbench.benchmarks.official import evaluate_official

    if format_ not in RELEASES:
        raise UnknownName("format", format_, RELEASES)
    console = Console(stderr=True)
    rows = evaluate_official(
        weights, format_, split, data, backbone, image_size, pick_device(device), batch, threshold, console
    )
    print_rows(rows, out, title=f"{weights.name} ({format_})")
