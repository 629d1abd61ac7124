"""`barbench rescore`: stored predictions scored again with other people's corrections of the public sets."""

from pathlib import Path
from typing import Annotated

import typer

from barbench.commands import options as opt
from barbench.commands.stored import open_store
from barbench.errors import UsageError
from barbench.listing import Format, print_notes, print_rows


def rescore(
    runs: Annotated[
        Path, typer.Argument(help="results folder whose predictions are scored again", exists=True, file_okay=False)
    ],
    out: Annotated[Path, typer.Option(help="folder to write the new records into", file_okay=False)],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="folder of Ref-L4's reviewed labels: sentences found wrong are left out",
            show_default="none",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    masks: Annotated[
        list[Path] | None,
        typer.Option(
            help="Parquet file of RefCOCO-M, whose masks count; several by repeating it; needs run --keep-masks",
            show_default="none",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    data: opt.DataOption = None,
    allow_unmatched: Annotated[
        bool, typer.Option("--allow-unmatched", help="leave sentences out that cannot be matched with a label")
    ] = False,
    format_: opt.FormatOption = Format.table,
) -> None:
    """Score stored predictions again, with wrong sentences left out or with better masks; print whether ranks hold."""
    from barbench.benchmarks.rescore import rescore as score_again
    from barbench.datasets.corrections import NewMasks, ReviewedLabels
    from barbench.results.ranking import ranking
    from barbench.results.store import Store

    if (labels is None) == (not masks):
        raise UsageError("one of --labels FOLDER and --masks FILE is needed")
    target = Store(out)
    source = ReviewedLabels(labels) if labels is not None else NewMasks(masks or [])
    with open_store(runs) as store:
        written = score_again(store, target, source, data, allow_unmatched)
    print_notes(written.notes)
    # Programs get the methods alone; the pairs follow from them.
    found = ranking(store, target)
    if format_ is Format.table:
        print_rows([row.readable() for row in found.methods], format_, title=f"{source.name}: mIoU before and after")
        print_rows([row.readable() for row in found.pairs], format_, title="Does the ranking hold?")
    else:
        print_rows([row._asdict() for row in found.methods], format_)
