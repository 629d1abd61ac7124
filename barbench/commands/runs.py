"""`barbench status`, `stop` and `results merge`: runs that are under way, here or on a cluster, and their folders."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from barbench.commands.checks import CheckedCommand
from barbench.commands.options import FormatOption, ResultsOption
from barbench.listing import Format, print_rows, stdout_console

results = typer.Typer(no_args_is_help=True, help="Work on results folders.")
LOOK_SECONDS = 5.0


class OnConflict(StrEnum):
    """What `--on-conflict` takes."""

    refuse = "refuse"
    keep = "keep"
    overwrite = "replace"


def status(
    results: ResultsOption = Path("results"),
    watch: Annotated[
        bool, typer.Option("--watch", help="show it again every five seconds until no run is left")
    ] = False,
    format_: FormatOption = Format.table,
) -> None:
    """Show the cells of the runs that are under way: from files, so that no cluster needs to answer."""
    from barbench.benchmarks.execution.status import status as look

    console = stdout_console()
    while True:
        rows = look(results)
        if watch and console.is_terminal:
            console.clear()
        if rows or format_ is not Format.table:
            print_rows(rows, format_, title=str(results))
        else:
            console.print(f"no run is under way in {results}", markup=False, soft_wrap=True)
        if not (watch and rows):
            return
        time.sleep(LOOK_SECONDS)


def stop(
    run: Annotated[
        str | None, typer.Argument(help="run, as barbench status names it", show_default="the only one")
    ] = None,
    cells: Annotated[
        list[str] | None, typer.Argument(help="cells, by id or file name or the start of one; none: the whole run")
    ] = None,
    results: ResultsOption = Path("results"),
) -> None:
    """Ask a run, or some of its cells, to keep checkpoints and end. `barbench run` goes on from there."""
    from barbench.benchmarks.execution.status import find_run
    from barbench.benchmarks.execution.status import stop as ask

    print(ask(find_run(results, run), cells or []))


@results.command(cls=CheckedCommand)
def merge(
    folders: Annotated[list[Path], typer.Argument(exists=True, file_okay=False, help="results folders")],
    into: Annotated[Path, typer.Option(file_okay=False, help="results folder that gets their records")],
    on_conflict: Annotated[
        OnConflict,
        typer.Option(help="where two records of one cell differ: copy nothing, keep the first, or replace it"),
    ] = OnConflict.refuse,
) -> None:
    """Copy records, with their expressions and weights, from several results folders into one."""
    from barbench.benchmarks.execution.host.lock import locked
    from barbench.results.merge import merge as copy

    with locked(into):
        merged = copy(folders, into, on_conflict.value)
    kept = f", {len(merged.kept)} differ and were kept" if merged.kept else ""
    copied = f"{len(merged.copied)} record{'s' * (len(merged.copied) != 1)} copied into {into}"
    print(f"{copied}, {len(merged.same)} there already{kept}")
