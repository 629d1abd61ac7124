"""`barbench status`, `stop` and `results merge`: runs that are under way, here or on a cluster, and their folders."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from barbench.commands.checks import CheckedCommand
from barbench.commands.options import FormatOption, ResultsOption
from barbench.listing import Format, print_rows, stdout_console
from barbench.spec.text import plural

results = typer.Typer(no_args_is_help=True, help="Work on results folders.")
LOOK_SECONDS = 5.0


def status(
    results: ResultsOption = Path("results"),
    watch: Annotated[bool, typer.Option("--watch", help="refresh every five seconds until no run is left")] = False,
    format_: FormatOption = Format.table,
) -> None:
    """Show the cells of the runs that are under way."""
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
        list[str] | None, typer.Argument(help="ids or file names, a unique prefix is enough; omit for the whole run")
    ] = None,
    results: ResultsOption = Path("results"),
) -> None:
    """Ask a run, or some of its cells, to write checkpoints and end. `barbench run` resumes from there."""
    from barbench.benchmarks.execution.status import find_run
    from barbench.benchmarks.execution.status import stop as ask

    print(ask(find_run(results, run), cells or []))


@results.command(cls=CheckedCommand)
def merge(
    folders: Annotated[list[Path], typer.Argument(exists=True, file_okay=False, help="results folders")],
    into: Annotated[Path, typer.Option(file_okay=False, help="destination folder")],
    on_conflict: Annotated[
        Literal["refuse", "keep", "replace"],
        typer.Option(help="copy nothing, keep the first record or replace it, where two records of one cell differ"),
    ] = "refuse",
) -> None:
    """Copy records, with their expressions and weights, from several results folders into one."""
    from barbench.benchmarks.execution.host.lock import locked
    from barbench.results.merge import merge as copy

    with locked(into):
        merged = copy(folders, into, on_conflict)
    kept = f", {len(merged.kept)} differ and were kept" if merged.kept else ""
    copied = f"{plural(len(merged.copied), 'record')} copied into {into}"
    print(f"{copied}, {len(merged.same)} there already{kept}")
