"""`barbench data ...`: make and check data."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from barbench.commands import options as opt
from barbench.commands.checks import CheckedCommand
from barbench.datasets.importers.names import SourceFormat
from barbench.errors import UsageError
from barbench.listing import Format, print_rows, progress_bar
from barbench.paper.partitions import Exif
from barbench.spec.run import MAX_SEED

app = typer.Typer(no_args_is_help=True, help="Make, import and check data.")


@app.command("make-shapes", cls=CheckedCommand)
def make_shapes(
    root: Annotated[Path, typer.Argument(file_okay=False, help="folder to write, in the REFER/COCO layout")],
    train: Annotated[int, typer.Option(min=1, max=10**6, help="number of training images")] = 800,
    evaluate: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10**6,
            help="number of images in each of val, testA and testB",
            show_default="240 in val, 120 in testA and testB",
        ),
    ] = None,
    shortest: Annotated[int, typer.Option(min=32, max=4096, help="shortest image side, in pixels")] = 72,
    longest: Annotated[int, typer.Option(min=32, max=4096, help="longest image side, in pixels")] = 96,
    references: Annotated[int, typer.Option(min=1, max=100, help="maximum references per image")] = 3,
    sentences: Annotated[int, typer.Option(min=1, max=100, help="maximum sentences per reference")] = 2,
    haze: Annotated[float, typer.Option(min=0, max=0.99, help="share of the contrast that haze takes")] = 0.8,
    processes: Annotated[
        int, typer.Option(min=1, max=1024, help="number of drawing processes; the images do not depend on it")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="seed of the generator")] = 0,
) -> None:
    """Generate a dataset of coloured figures with referring expressions, for all four splits.

    Without options it is the embedded benchmark.
    """
    from barbench.datasets.shapes import ShapesSpec
    from barbench.datasets.shapes import make_shapes as make

    if shortest > longest:
        raise UsageError(f"--shortest {shortest} is more than --longest {longest}")
    if root.exists() and any(root.iterdir()):
        raise UsageError(f"{root} is not empty; name a new folder")
    # The three evaluation splits have other sizes by default.
    standard = ShapesSpec()
    spec = ShapesSpec(
        train=train,
        val=evaluate or standard.val,
        testA=evaluate or standard.testA,
        testB=evaluate or standard.testB,
        sides=(shortest, longest),
        references=references,
        sentences=sentences,
        haze=haze,
        seed=seed,
    )
    with progress_bar("drawing") as progress:
        make(root, spec, progress, processes)
    pictures = spec.train + spec.val + spec.testA + spec.testB
    print(f"{pictures} pictures in {root}; use them with --data {root}")


@app.command("import", cls=CheckedCommand)
def import_(
    source: Annotated[
        Path, typer.Argument(exists=True, help="file or folder that you hold: docs/data.md says what can be read")
    ],
    root: Annotated[
        Path, typer.Argument(file_okay=False, help="folder to write, in the REFER/COCO layout; nothing is overwritten")
    ],
    form: Annotated[SourceFormat | None, typer.Option(help="format of the source", show_default="detected")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", "--split", help="dataset of the source, named as for run", show_default="from its names"
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="folder of COCO's train2014 images, for a source without images"
        ),
    ] = None,
    instances: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="COCO's instances_train2014.json, for a source without whole masks"
        ),
    ] = None,
    exif: Annotated[
        Exif | None,
        typer.Option(
            help="stored or apply: whether masks were drawn on images as stored, or as their EXIF turns them",
            show_default="as the masks' sizes say",
        ),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="PNG to write: ten images with their masks, to look at", show_default="none"),
    ] = None,
    format_: opt.FormatOption = Format.table,
) -> None:
    """Make the layout from a copy of the data: Parquet, zips, LMDB, mask folders, MDETR's JSON, or a table.

    The same command goes on where an import was interrupted. Counts are compared with the public release.
    """
    from barbench.commands.data_checks import import_rows
    from barbench.datasets.importers.source import Request

    rows, notes = import_rows(Request(source, root, form, dataset, images, instances, exif), preview)
    print_rows(rows, format_, title=f"now in {root}")
    for line in notes:
        print(line, file=sys.stderr)


@app.command("verify", cls=CheckedCommand)
def verify(
    root: Annotated[
        str | None, typer.Argument(help="REFER/COCO root, or shapes", show_default="$BARBENCH_DATA, else shapes")
    ] = None,
    dataset: Annotated[
        str, typer.Option("--dataset", "--split", help="comma list of datasets, or all that the root holds")
    ] = "all",
    exif: opt.ExifOption = "stored",
    own: Annotated[bool, typer.Option("--own", help="accept valid data that differ from the public release")] = False,
    format_: opt.FormatOption = Format.table,
) -> None:
    """Check a data root: published counts, every image opens, every mask is sound, images shared by train and test."""
    from barbench.commands.data_checks import verify_data

    found = verify_data(root, dataset, own, exif)
    print_rows(found.rows, format_, title="splits as found")
    for line in found.findings:
        print(line, file=sys.stderr)
    if not found.sound:
        raise typer.Exit(1)


@app.command("audit", cls=CheckedCommand)
def audit(
    data: Annotated[str | None, typer.Option(help="REFER/COCO root, or shapes")] = None,
    format_: opt.FormatOption = Format.table,
) -> None:
    """Count the images that each training set shares with each evaluation split, over all data sets of a root."""
    from barbench.commands.data_checks import audit_data

    found = audit_data(data)
    print_rows(found.rows, format_, title="images that a training set shares with an evaluation split")
    for name in found.absent:
        print(f"not there: {name}", file=sys.stderr)
    for line in found.leaks:
        print(line, file=sys.stderr)
