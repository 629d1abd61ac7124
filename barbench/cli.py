"""The command line: `barbench run --methods all --dataset refcoco+`, then `barbench report`.

The commands are in `barbench/commands/`, each a thin layer over one function of the rooms below. Heavy libraries are
imported inside the commands that need them, so that help and mistakes answer at once.
"""

import io
import logging
import os
import sys
from typing import Annotated

import typer
from rich.console import Console

import barbench
from barbench.commands import data, lists, measure, model, report, rescore, run, runs, tune
from barbench.commands.checks import CheckedCommand
from barbench.errors import BarbenchError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compare parameter-efficient tuning methods for referring image segmentation.",
)
for command in (
    *(run.run, report.report, report.compare, report.panels, report.export, measure.profile, measure.check),
    *(model.evaluate, model.predict, lists.show, tune.tune, runs.status, runs.stop, rescore.rescore),
):
    app.command(cls=CheckedCommand)(command)
app.add_typer(lists.app, name="list")
app.add_typer(data.app, name="data")
app.add_typer(runs.results, name="results")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"barbench {barbench.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="print the version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR)


def main() -> None:
    """Entry point: an error ends with one line and its exit code; `barbench --debug COMMAND` shows the traceback."""
    _prepare_streams()
    try:
        app()
    except BrokenPipeError:
        # The reader of the pipe is gone. Without this, Python would report it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        Console(stderr=True).print(f"error: {_explained(error)}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code if isinstance(error, BarbenchError) else 1)


def _prepare_streams() -> None:
    """Give closed streams a null device, and let streams spell out characters that they cannot encode.

    Otherwise `barbench run` would train for hours and fail at the first rule of its table if output is ASCII.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            try:
                os.fstat(number)
            except OSError:  # a file opened later would take the number, and be written to
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="backslashreplace")


def _explained(error: Exception) -> str:
    if isinstance(error, BarbenchError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error} (unexpected; barbench --debug COMMAND shows where)"


if __name__ == "__main__":
    main()
