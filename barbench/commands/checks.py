"""Checks of the arguments of every command, in one place and before anything runs. Used by `barbench.cli`."""

import math
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

PATHS = frozenset(
    {"weights", "data", "root", "backbone", "recipe", "cache", "results", "reports", "out", "photo", "baseline"}
    | {"source", "images", "instances"}
)
"""Parameters that take a file or a folder, or a comma list of them: a leading ~ means the home folder."""


class CheckedCommand(TyperCommand):
    """A command that refuses empty arguments, and whose paths may begin with ~.

    An empty argument is nearly always a variable that is not set; read as "not given", it would choose the default.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check the arguments and replace ~ in paths.

        Args:
            ctx: click's context.
            args: the words of the command line.

        Returns:
            The words that are left over.

        Raises:
            typer.BadParameter: for an empty argument, and for ~ without a home folder.
        """
        parameters: dict[str | None, Any] = {p.name: p for p in self.get_params(ctx)}
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        for name, value in given.items():
            if name in parameters and any(_empty(each) for each in _each(value)):
                raise typer.BadParameter("it is empty; is a variable not set?", ctx=ctx, param=parameters[name])
        rest = super().parse_args(ctx, args)
        for name in PATHS & ctx.params.keys():
            try:
                ctx.params[name] = expanded(ctx.params[name])
            except RuntimeError as error:
                raise typer.BadParameter(str(error), ctx=ctx, param=parameters[name]) from None
        return rest


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _empty(value: Any) -> bool:
    """Whether a text has nothing but blanks and commas."""
    return isinstance(value, str) and not value.strip(" ,\t\n")


def expanded(value: Any) -> Any:
    """Replace a leading ~ by the home folder.

    Args:
        value: a path, a comma list of paths as text, or anything else, which is returned as it is.

    Returns:
        A value of the same type. RuntimeError is raised if there is no home folder.
    """
    if isinstance(value, Path):
        return value.expanduser()
    if isinstance(value, str) and "~" in value:
        parts = (part.strip() for part in value.split(","))
        return ",".join(str(Path(part).expanduser()) if part.startswith("~") else part for part in parts)
    return value


def probability(value: float | None) -> float | None:
    """Check a threshold of probabilities.

    Args:
        value: None if not given.

    Returns:
        The value.

    Raises:
        typer.BadParameter: unless it is a number from 0 to 1 (nan passes every comparison of a range).
    """
    if value is not None and not (math.isfinite(value) and 0 <= value <= 1):
        raise typer.BadParameter(f"{value} is not a probability from 0 to 1")
    return value
