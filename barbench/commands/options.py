"""Arguments that several commands have, each with one name, one help text and one default."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from barbench.commands.checks import device_name
from barbench.listing import Format

MAX_SEED = 2**32 - 1  # that NumPy takes
METHODS_HELP = (
    "all (the paper's five between head-only and full), everything, or a comma list; "
    "snf+lora for both in one method; package.module:name for a method of your own"
)
MethodsOption = Annotated[str, typer.Option(help=METHODS_HELP)]
BackboneOption = Annotated[
    str, typer.Option(help="tiny, the name of an open_clip CLIP ViT, or a folder in open_clip's format")
]
WEIGHTS_HELP = "random, pretrained (tiny), an open_clip tag whose file is in the local cache, or a file"
ImageSizeOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4096,
        help="side of the square input in pixels",
        show_default="the backbone's own; 416 for open_clip's",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="folder in the REFER/COCO layout, or shapes (generated data)", show_default="$BARBENCH_DATA, else shapes"
    ),
]
ResultsOption = Annotated[Path, typer.Option(file_okay=False, help="folder that holds the records")]
ArgumentsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="change an argument of a method: METHOD:component.parameter=value, e.g. barleria:gst.prior=false; "
        "may be repeated",
    ),
]


class ExifChoice(StrEnum):
    """What `--exif` takes."""

    stored = "stored"
    apply = "apply"


ExifOption = Annotated[
    ExifChoice,
    typer.Option(
        "--exif", help="apply: turn images as their EXIF says, for annotations that were drawn on turned images"
    ),
]


class KernelsChoice(StrEnum):
    """What `--kernels` takes."""

    auto = "auto"
    low_memory = "low_memory"
    fused = "fused"
    plain = "plain"
    lean = "lean"


KernelsOption = Annotated[
    KernelsChoice,
    typer.Option(
        "--kernels",
        help="low_memory: many small kernels that save memory; fused: few large ones, for a GPU, not yet measured "
        "on one; auto: low_memory (former names: plain, lean)",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(help="auto, cpu, or another device name of torch: cuda, cuda:1, mps", callback=device_name),
]
FormatOption = Annotated[Format, typer.Option("--format", help="how to print the rows")]
