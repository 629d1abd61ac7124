"""`barbench status`, `stop` and `results merge`: runs that are under way, here or on a cluster, and their folders."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from barbench.commands import options as opt
from barbench.commands.checks import CheckedCommand
from barbench.listing import Format, print_notes, print_rows, stdout_console
from barbench.spec.text import plural

if TYPE_CHECKING:
    from barbench.benchmarks.execution.status import RunState

results = typer.Typer(no_args_is_help=True, help="Work on results folders.")
LOOK_SECONDS = 5.0
BEGIN_SECONDS = 120.0
"""That `status --watch` waits for a run to begin."""


def status(
    results: opt.ResultsOption = Path("results"),
    watch: Annotated[
        bool, typer.Option("--watch", help="refresh every five seconds until no cell waits or runs")
    ] = False,
    format_: opt.FormatOption = Format.table,
) -> None:
    """Show the cells of the runs and searches that are under way. With --watch, wait two minutes for one to begin."""
    from barbench.benchmarks.execution.status import damaged_runs, runs

    console = stdout_console()
    limit = time.monotonic() + BEGIN_SECONDS
    print_notes(damaged_runs(results))
    while True:
        found = runs(results)
        if watch and console.is_terminal:
            console.clear()
        _show(found, results, format_, console)
        if not watch:
            return
        # Once there was a run, the end is where none has a cell left; before, a run may be about to begin.
        if found:
            limit = 0.0
        if all(run.is_over for run in found) and time.monotonic() > limit:
            return
        if not found and limit:
            _say(console, "waiting for a run to begin")
        time.sleep(LOOK_SECONDS)


def _show(found: "list[RunState]", results: Path, format_: Format, console: Console) -> None:
    """A table for each run that is not complete, and a line for each that is; or rows for programs."""
    from barbench.benchmarks.execution.status import rows, short_rows

    # Programs get rows of what is under way alone.
    open_runs = [run for run in found if not run.is_complete]
    if format_ is not Format.table:
        print_rows(rows(open_runs), format_)
        return
    for run in open_runs:
        print_rows(short_rows(run), Format.table, title=str(run))
    if not open_runs:
        _say(console, f"no run is under way in {results}")
    for run in found:
        if run.is_complete:
            _say(console, f"{run}; it is over")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def stop(
    run: Annotated[
        str | None, typer.Argument(help="run, as barbench status names it", show_default="the only one")
    ] = None,
    cells: Annotated[
        list[str] | None, typer.Argument(help="ids or file names, a unique prefix is enough; omit for the whole run")
    ] = None,
    results: opt.ResultsOption = Path("results"),
) -> None:
    """Ask a run, or some of its cells, to write checkpoints and end. `barbench run` resumes from there."""
    from barbench.benchmarks.execution.status import damaged_runs, find_run
    from barbench.benchmarks.execution.status import stop as ask

    print_notes(damaged_runs(results))
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

    # No run may write there meanwhile.
    with locked(into):
        merged = copy(folders, into, on_conflict)
    kept = f", {len(merged.kept)} differ and were kept" if merged.kept else ""
    copied = f"{plural(len(merged.copied), 'record')} copied into {into}"
    print(f"{copied}, {len(merged.same)} there already{kept}")
