"""`barbench report` and `compare`: what people read, made from the records."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from barbench.commands.options import FormatOption, Results, names
from barbench.listing import Format, print_rows, stdout_console

EACH = "FIRST,SECOND where they differ"


def report(
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(help="folder to write into")] = Path("reports"),
    table: Annotated[str, typer.Option(help="1 to 5, a comma list, or all")] = "all",
    format_: Annotated[
        str, typer.Option("--format", help="a comma list of md, latex, terminal (printed)")
    ] = "md,latex",
) -> None:
    """The paper's Tables 1-5, published beside measured, from the records."""
    from barbench.reports.console import TERMINAL, show
    from barbench.reports.layout import TABLES
    from barbench.reports.tables import build
    from barbench.reports.write import write_reports
    from barbench.results.store import Store

    numbers = TABLES.names() if table == "all" else names(table)
    formats = names(format_)
    store = Store(results)
    try:
        paths = write_reports(store, out, numbers, [name for name in formats if name != TERMINAL])
    finally:
        for lost in store.set_aside:
            print(f"{lost.path.name} cannot be used ({lost.reason}); it is now {lost.renamed.name}", file=sys.stderr)
    if TERMINAL in formats:
        records, console = store.all(), stdout_console()
        for number in numbers:
            show(build(number, records), console)
    for path in paths:
        print(path)


def compare(
    first: Annotated[str, typer.Argument(help="a method, a title, or a cell by its id or the start of its file name")],
    second: Annotated[str, typer.Argument(help="the same; the difference is first minus second")],
    split: Annotated[str | None, typer.Option(help="refcoco, refcoco+, …; needed where they ran on several")] = None,
    backbone: Annotated[str | None, typer.Option(help=f"which cells, where there are several; {EACH}")] = None,
    weights: Annotated[str | None, typer.Option(help=f"as the records name them; {EACH}")] = None,
    recipe: Annotated[str | None, typer.Option(help=f"name of the recipe; {EACH}")] = None,
    image_size: Annotated[str | None, typer.Option(help=f"pixels; {EACH}")] = None,
    resamples: Annotated[int, typer.Option(min=100, help="of the bootstrap")] = 10_000,
    results: Results = Path("results"),
    format_: FormatOption = Format.table,
) -> None:
    """The difference between two methods in mIoU, oIoU and P@0.5, with 95 % intervals over images and seeds."""
    from barbench.results.compare import Wanted
    from barbench.results.compare import compare as compare_cells
    from barbench.results.store import Store

    wanted = Wanted(split, backbone, weights, recipe, image_size)
    found = compare_cells(Store(results), first, second, wanted, resamples)
    rows = [row.readable(found.titles) if format_ is Format.table else row._asdict() for row in found.rows]
    print_rows(rows, format_, title=f"{found.titles[0]} minus {found.titles[1]}, in percent")
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
