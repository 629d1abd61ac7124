"""Options that several commands have, each with one name, one help text and one type."""

from pathlib import Path
from typing import Annotated

import typer

from barbench.commands.checks import device_name, gpu_list
from barbench.listing import Format
from barbench.paper.partitions import Exif
from barbench.spec.run import ExecutorName, Kernels, Precision, Proportion, TrackerName

METHODS_HELP = (
    "all (the paper's five between head-only and full), everything, or a comma list; "
    "snf+lora for both in one method; package.module:name for your own method"
)
WEIGHTS_HELP = "random, pretrained (tiny), an open_clip tag whose file is in the local cache, or a file"

# What is compared.
MethodsOption = Annotated[str, typer.Option(help=METHODS_HELP)]
MaybeMethodsOption = Annotated[str | None, typer.Option(help=METHODS_HELP, show_default="all")]
SuiteOption = Annotated[
    str | None, typer.Option(help="run a named list of methods with options, instead of --methods", show_default="none")
]
ArgumentsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="change an argument of a method: METHOD:component.parameter=value, e.g. barleria:gst.prior=false; "
        "may be repeated",
    ),
]
ProportionOption = Annotated[
    Proportion,
    typer.Option(
        help="sizes of the methods: published, those for ViT-B/16; width, in proportion to a narrower backbone, except "
        "for what --option gives"
    ),
]
TablesOption = Annotated[
    str | None, typer.Option("--table", help="run the cells that these tables need: 1 to 5, a comma list, or all")
]

# Backbones.
BackboneOption = Annotated[
    str, typer.Option(help="tiny, the name of an open_clip CLIP ViT, or a folder in open_clip's format")
]
BackbonesOption = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        help="tiny, a name that open_clip knows, a folder in open_clip's format, or a comma list",
        show_default="tiny on shapes, else ViT-B-16-quickgelu",
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(help=WEIGHTS_HELP, show_default="pretrained for tiny and folders, openai for -quickgelu models"),
]
ImageSizeOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4096,
        help="side of the square input in pixels",
        show_default="the backbone's own; 416 for open_clip's",
    ),
]

# Data.
DATASETS_HELP = "refcoco, refcoco+, refcocog-u, refcocog-g (all: these), grefcoco, mixed, mixed-leaked, a list"
DatasetsOption = Annotated[str, typer.Option("--dataset", "--split", help=DATASETS_HELP)]
MaybeDatasetsOption = Annotated[
    str | None, typer.Option("--dataset", "--split", help=DATASETS_HELP, show_default="refcoco+")
]
TrainedOnOption = Annotated[str, typer.Option("--dataset", "--split", help="dataset that the cells were trained on")]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="folder in the REFER/COCO layout, or shapes (generated data)", show_default="$BARBENCH_DATA, else shapes"
    ),
]
ContextOption = Annotated[
    int | None,
    typer.Option(
        "--context",
        min=3,
        max=1024,
        help="tokens of an expression, start and end included",
        show_default="the dataset's own",
    ),
]
ExifOption = Annotated[
    Exif,
    typer.Option(
        "--exif", help="apply: turn images as their EXIF says, for annotations that were drawn on turned images"
    ),
]

# Training.
RecipeOption = Annotated[
    str | None, typer.Option(help="name of a recipe, or a YAML file", show_default="demo on shapes, else paper")
]
ChangesOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="change one field of the recipe, for all methods: key=value; may be repeated"),
]
SeedsOption = Annotated[str, typer.Option(help="comma list of whole numbers; one run per seed")]
PrecisionOption = Annotated[Precision, typer.Option(help="number format of the forward and backward pass")]

# Where cells run.
DeviceOption = Annotated[
    str,
    typer.Option(help="auto, cpu, or another device name of torch: cuda, cuda:1, mps", callback=device_name),
]
GpusOption = Annotated[
    str | None,
    typer.Option(
        help="GPUs to use, numbers as in 0,2; all; or none; one cell runs on each, or on --processes of them",
        show_default="all, or what --device says",
        callback=gpu_list,
    ),
]
KernelsOption = Annotated[
    Kernels,
    typer.Option(
        "--kernels",
        help="low_memory: many small kernels that save memory; fused: few large ones, for a GPU, not yet measured "
        "on one; auto: low_memory (former names: plain, lean)",
    ),
]
ProcessesOption = Annotated[
    int, typer.Option(min=1, max=1024, help="number of processes that share each batch, one per GPU")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=1024,
        help="number of data loading processes per training process",
        show_default="0 on a CPU, else all cores but two, 16 at most",
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1024,
        help="number of cells that run at the same time; the cores are divided among them",
        show_default="one per GPU; on a CPU one per core for embedded backbones, else 1",
    ),
]
ExecutorOption = Annotated[
    ExecutorName,
    typer.Option(help="executor of the cells: local (this host), slurm (extra: slurm), or ray (extra: ray)"),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        help="resources per cell on Slurm or Ray: partition=gpu,minutes=480,cpus=8, or a YAML file",
        show_default="4 cores and 480 minutes",
    ),
]
RetriesOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=1000,
        help="number of times that a cell whose process or host died is tried again",
        show_default="2, on this host 0",
    ),
]
TrackerOption = Annotated[
    TrackerName | None,
    typer.Option(
        help="also send losses and scores to this tracker, one run per cell, offline (extra: trackers)",
        show_default="none",
    ),
]
CacheOption = Annotated[
    str,
    typer.Option(
        help="folder for letterboxed images; off for none; auto for $BARBENCH_CACHE if half of the disk stays free"
    ),
]
ThresholdOption = Annotated[float, typer.Option(min=0, max=1, help="probability above which a pixel is in the mask")]

# Folders and output.
ResultsOption = Annotated[Path, typer.Option(file_okay=False, help="folder that holds the records")]
ReportsOption = Annotated[Path, typer.Option(file_okay=False, help="folder to write the tables into")]
FormatOption = Annotated[Format, typer.Option("--format", help="format of the rows")]
