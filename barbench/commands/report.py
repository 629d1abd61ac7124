"""`barbench report`: what people read, made from the records."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from barbench.commands.options import Results, names


def report(
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(help="folder to write into")] = Path("reports"),
    table: Annotated[str, typer.Option(help="4, 5, a comma list, or all")] = "all",
    format_: Annotated[str, typer.Option("--format", help="md, latex, or both")] = "md,latex",
) -> None:
    """Write the paper's tables from the records."""
    from barbench.reports.tables import TABLES
    from barbench.reports.write import write_reports
    from barbench.results.store import Store

    numbers = TABLES.names() if table == "all" else names(table)
    store = Store(results)
    try:
        paths = write_reports(store, out, numbers, names(format_))
    finally:
        for lost in store.set_aside:
            print(f"{lost.path.name} cannot be used ({lost.reason}); it is now {lost.renamed.name}", file=sys.stderr)
    for path in paths:
        print(path)
