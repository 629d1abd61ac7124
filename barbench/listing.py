"""Prints rows for people and for programs: a list of mappings as a table, JSON or CSV."""

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from barbench.plain import OnProgress, flatten


class Format(StrEnum):
    """The values of `--format` for printed rows."""

    table = "table"
    json = "json"
    csv = "csv"


def stdout_console(width: int = 100) -> Console:
    """A rich console on standard output.

    Args:
        width: columns that a pipe, which has no width of its own, is taken to have.

    Returns:
        The console.
    """
    return Console() if sys.stdout.isatty() else Console(width=width)


def print_rows(rows: Sequence[Mapping[str, Any]], format_: Format, title: str = "") -> None:
    """Print rows to standard output.

    Args:
        rows: mappings with the same keys; nested mappings become columns `outer.inner`, except in JSON.
        format_: table, JSON or CSV.
        title: above a table.
    """
    if format_ is Format.json:
        print(json.dumps(list(rows), indent=1, ensure_ascii=False))
        return
    flat = [flatten(row) for row in rows]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    if format_ is Format.csv:
        writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: _text(v, thousands=False) for k, v in row.items()} for row in flat)
        return
    table = Table(title=Text(title), title_justify="left", header_style="bold")
    for column in columns:
        numeric = all(isinstance(row.get(column), int | float) for row in flat)
        table.add_column(_heading(column), justify="right" if numeric else "left", overflow="fold")
    for row in flat:
        # Text, not str: a name or a reason such as "[/x]" is no markup.
        table.add_row(*(Text(_text(row.get(column), thousands=True)) for column in columns))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _heading(column: str) -> str:
    """A nested column's name over several lines. The point in a number, as in P@0.5, is no nesting.

    >>> _heading("val.P@0.5")
    'val\\nP@0.5'
    """
    return re.sub(r"(?<!\d)\.|\.(?!\d)", "\n", column)


def _text(value: Any, thousands: bool) -> str:
    if value is None or value == []:
        return ""
    if isinstance(value, list | tuple):
        return (", " if thousands else " ").join("-" if v is None else str(v) for v in value)
    if thousands and isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if thousands and isinstance(value, float) else str(value)


@contextmanager
def progress_bar(what: str) -> Iterator[OnProgress]:
    """Show a progress bar on standard error; silent in a pipe.

    Args:
        what: is done, in words.

    Yields:
        The callback that moves the bar.
    """
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
