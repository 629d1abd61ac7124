"""Options that several commands have, each with one name, one help text and one type."""

from pathlib import Path
from typing import Annotated

import typer

from barbench.commands.checks import device_name
from barbench.listing import Format
from barbench.paper.partitions import Exif
from barbench.spec.backbone import HeadForm, NeckName
from barbench.spec.run import Kernels, Proportion

METHODS_HELP = (
    "all (the paper's five between head-only and full), everything, or a comma list; "
    "snf+lora for both in one method; package.module:name for your own method"
)
WEIGHTS_HELP = "random, pretrained (tiny), an open_clip tag whose file is in the local cache, a file, or a model folder"

# The panels of a command's help.
COMPARED = "What is compared"
BACKBONES = "Backbones"
DATA = "Data"
TRAINING = "Training"
DEVICES = "Devices and processes"
PLACE = "Where cells run"
FOLDERS = "Folders and output"

# What is compared.
MethodsOption = Annotated[str, typer.Option(help=METHODS_HELP, rich_help_panel=COMPARED)]
MaybeMethodsOption = Annotated[
    str | None, typer.Option(help=METHODS_HELP, show_default="all", rich_help_panel=COMPARED)
]
SuiteOption = Annotated[
    str | None,
    typer.Option(
        help="named list of methods with options, instead of --methods; list suites has the names",
        show_default="none",
        rich_help_panel=COMPARED,
    ),
]
ArgumentsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="change an argument of a method: METHOD:component.parameter=value, e.g. barleria:gst.prior=false; "
        "may be repeated",
        rich_help_panel=COMPARED,
    ),
]
ProportionOption = Annotated[
    Proportion | None,
    typer.Option(
        help="sizes of the methods: published, those for ViT-B/16; width, in proportion to a narrower backbone, except "
        "for what --option gives",
        show_default="width on embedded backbones, else published",
        rich_help_panel=COMPARED,
    ),
]
CountOption = Annotated[
    str | None,
    typer.Option(
        help="parameters that count as tuned: own, adapter (own and those of the encoders), positions, head, "
        "all, several joined by +; or a paper's whole rule: etris, barleria, barleria-range, detris, mapper, cola",
        show_default="adapter",
        rich_help_panel=COMPARED,
    ),
]
OfOption = Annotated[
    str | None,
    typer.Option(
        "--of",
        help="denominator of their share: none (millions), vision, towers, total (towers, head and own); with "
        "-nopos behind it without positional embeddings",
        show_default="none",
        rich_help_panel=COMPARED,
    ),
]

# Backbones.
BackboneOption = Annotated[
    str,
    typer.Option(
        help="tiny, a name of `list backbones`, a pair VISION+TEXT of timm's DINOv2 and open_clip's text tower, or a "
        "folder in open_clip's format",
        rich_help_panel=BACKBONES,
    ),
]
BackbonesOption = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        help="tiny, a name of `list backbones`, a pair VISION+TEXT of timm's DINOv2 and open_clip's text tower, a "
        "folder in open_clip's format, or a comma list",
        show_default="tiny on shapes, else ViT-B-16-quickgelu",
        rich_help_panel=BACKBONES,
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        help=WEIGHTS_HELP,
        show_default="pretrained for tiny and folders, openai for -quickgelu models, lvd142m,openai for DINOv2",
        rich_help_panel=BACKBONES,
    ),
]
ImageSizeOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4096,
        help="side of the square input in pixels",
        show_default="the backbone's own; 416 for open_clip's, 448 for DINOv2",
        rich_help_panel=BACKBONES,
    ),
]

NECK_HELP = (
    "neck of the segmentation head: etris, the paper's; detris, the same with a residual connection; cris, a pyramid; "
    "none, one linear map of the last level"
)
NeckOption = Annotated[
    NeckName | None,
    typer.Option("--neck", help=NECK_HELP, show_default="the backbone's own", rich_help_panel=BACKBONES),
]
NecksOption = Annotated[
    str | None,
    typer.Option(
        "--neck",
        help=f"{NECK_HELP}; or a comma list",
        show_default="the suite's, else the backbone's own",
        rich_help_panel=BACKBONES,
    ),
]
HeadFormOption = Annotated[
    HeadForm | None,
    typer.Option(
        "--head",
        help="form of the segmentation head: full; linear, one product of patches and sentence without neck or decoder",
        show_default="the backbone's own",
        rich_help_panel=BACKBONES,
    ),
]

# Data.
DATASETS_HELP = "refcoco, refcoco+, refcocog-u, refcocog-g (all: these), grefcoco, mixed, mixed-leaked, a list"
DatasetsOption = Annotated[str, typer.Option("--dataset", "--split", help=DATASETS_HELP, rich_help_panel=DATA)]
MaybeDatasetsOption = Annotated[
    str | None, typer.Option("--dataset", "--split", help=DATASETS_HELP, show_default="refcoco+", rich_help_panel=DATA)
]
TrainedOnOption = Annotated[
    str, typer.Option("--dataset", "--split", help="dataset that the cells were trained on", rich_help_panel=DATA)
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="folder in the REFER/COCO layout, or shapes (generated data)",
        show_default="$BARBENCH_DATA, else shapes",
        rich_help_panel=DATA,
    ),
]
ExifOption = Annotated[
    Exif,
    typer.Option(
        "--exif",
        help="apply: turn images as their EXIF says, for annotations that were drawn on turned images",
        rich_help_panel=DATA,
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        max=10_000_000,
        help="number of images of each evaluation split, always the same ones, chosen by a hash of their ids",
        show_default="all",
        rich_help_panel=DATA,
    ),
]
LimitTrainOption = Annotated[
    int | None,
    typer.Option(
        "--limit-train",
        min=1,
        max=10_000_000,
        help="number of images of the training set, chosen in the same way",
        show_default="all",
        rich_help_panel=DATA,
    ),
]

# Training.
RecipeOption = Annotated[
    str | None,
    typer.Option(
        help="name of a recipe, or a YAML file",
        show_default="the suite's or demo on shapes, else paper",
        rich_help_panel=TRAINING,
    ),
]
ChangesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="change one field of the recipe, for all methods: key=value; may be repeated; list recipes --fields "
        "lists them",
        rich_help_panel=TRAINING,
    ),
]

# Where cells run.
DeviceOption = Annotated[
    str,
    typer.Option(
        help="auto, cpu, or another device name of torch: cuda, cuda:1, mps",
        callback=device_name,
        rich_help_panel=DEVICES,
    ),
]
KernelsOption = Annotated[
    Kernels,
    typer.Option(
        "--kernels",
        help="low_memory: many small kernels that save memory; fused: few large ones, for a GPU; auto: fused on a CUDA "
        "card on which they were found to compute the same, else low_memory (former names: plain, lean)",
        rich_help_panel=DEVICES,
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1024,
        help="number of cells that run at the same time; the cores are divided among them",
        show_default="one per GPU; on a CPU one per core for embedded backbones, else 1",
        rich_help_panel=DEVICES,
    ),
]

# Folders and output.
ResultsOption = Annotated[
    Path, typer.Option(file_okay=False, help="folder that holds the records", rich_help_panel=FOLDERS)
]
FormatOption = Annotated[Format, typer.Option("--format", help="format of the rows", rich_help_panel=FOLDERS)]
