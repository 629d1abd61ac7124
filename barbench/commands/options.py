"""Arguments that several commands take, each with one name, one help text and one default."""

from pathlib import Path
from typing import Annotated

import typer

from barbench.errors import UsageError
from barbench.listing import Format
from barbench.registry import split_list

METHODS_HELP = (
    "all (the paper's five), everything, or a comma list; snf+lora for both in one; package.module:name for your own"
)
Methods = Annotated[str, typer.Option(help=METHODS_HELP)]
Backbone = Annotated[str, typer.Option(help="tiny, an open_clip CLIP ViT, or a folder in open_clip's format")]
Weights = Annotated[
    str | None, typer.Option(help="random, pretrained (tiny), an open_clip tag in its cache, or a file")
]
ImageSize = Annotated[int | None, typer.Option(help="pixels; by default the backbone's own, 416 for open_clip's")]
Data = Annotated[str | None, typer.Option(help="REFER/COCO root, or shapes  [default: $BARBENCH_DATA, else shapes]")]
Results = Annotated[Path, typer.Option(help="folder of the records")]
Options = Annotated[
    list[str] | None, typer.Option("--option", help="METHOD:component.parameter=value, e.g. barleria:gst.prior=false")
]
Device = Annotated[str, typer.Option(help="auto, cpu, or what torch knows: cuda, cuda:1, mps")]
FormatOption = Annotated[Format, typer.Option("--format", help="how to print it")]


def whole_numbers(text: str, option: str) -> list[int]:
    """The whole numbers of a comma list; raises UsageError naming `option`."""
    try:
        return [int(part) for part in split_list(text)]
    except ValueError:
        raise UsageError(f"{option} is a comma list of whole numbers, not {text!r}") from None
