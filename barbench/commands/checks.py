"""Checks of the arguments of every command, in one place and before anything runs. Used by `barbench.cli`."""

import math
import os
import re
from pathlib import Path
from tempfile import TemporaryFile

import typer
from typer.core import TyperCommand

from barbench.errors import UsageError
from barbench.files import at_home

HOME = re.compile(r"(?:^|(?<=[,=]))~[\w.-]*(?=/)|^~$")
"""A home folder where a path begins: at the start of a word, after `--option=`, or in a comma list."""


class CheckedCommand(TyperCommand):
    """A command that refuses empty arguments, nan and inf, and reads ~ in paths, as in `--out=~/x`, which shells leave.

    An empty argument is nearly always a variable that is not set; read as "not given", it would choose the default.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Check the arguments, and replace ~ in paths; BadParameter for an empty argument, and for nan and inf."""
        parameters = {parameter.name: parameter for parameter in self.get_params(ctx)}
        # Before typer converts values: an empty path would become the current folder.
        given, *_ = self.make_parser(ctx).parse_args(args=list(args))
        for name, value in given.items():
            values = value if isinstance(value, list | tuple) else [value]
            if name in parameters and any(_is_empty(each) for each in values):
                raise typer.BadParameter("it is empty; is a variable not set?", ctx=ctx, param=parameters[name])  # type: ignore[arg-type]
        rest = super().parse_args(ctx, [expanded(word) for word in args])
        for name, value in ctx.params.items():
            if isinstance(value, float) and not math.isfinite(value):  # nan passes every comparison of a range
                raise typer.BadParameter(f"{value} is not a number", ctx=ctx, param=parameters[name])  # type: ignore[arg-type]
        return rest


def _is_empty(value: object) -> bool:
    """Whether a text has nothing but blanks and commas."""
    return isinstance(value, str) and not value.strip(" ,\t\n")


def expanded(word: str) -> str:
    """Replace ~ by the home folder where a path begins; errors are those of `at_home`."""
    return HOME.sub(lambda found: str(at_home(found[0])), word)


def device_name(value: str) -> str:
    """Check the form of a device's name, BadParameter for what no device can be called; whether there is such a device,
    torch knows."""
    if not re.fullmatch(r"[a-z]+(:\d{1,3})?", value):
        raise typer.BadParameter(f"{value!r} is not the name of a device: auto, cpu, cuda, cuda:1, …")
    return value


def gpu_list(value: str | None) -> str | None:
    """Check the form of `--gpus`: `all`, `none`, or a comma list of numbers; BadParameter for anything else."""
    if value is not None and not re.fullmatch(r"all|none|[\d, ]+", value):
        raise typer.BadParameter(f"{value!r} is not all, none, or numbers as in 0,2")
    return value


def is_writable(folder: Path) -> bool:
    """Whether a folder, or the nearest one above it that is there, can be written to."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)


def require_writable(option: str, folder: Path) -> None:
    """Make a folder if it is not there, and write a file to it; the UsageError names `option`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{option}: cannot write to {folder}: {error.strerror}") from None
