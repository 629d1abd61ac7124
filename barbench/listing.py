"""Rows for people and for programs: one list of mappings, printed as a table, JSON or CSV."""

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
    """What `--format` takes."""

    table = "table"
    json = "json"
    csv = "csv"


def stdout_console(width: int = 100) -> Console:
    """rich's console on standard output; a pipe, which has no width of its own, is taken to have `width` columns."""
    return Console() if sys.stdout.isatty() else Console(width=width)


def print_rows(rows: Sequence[Mapping[str, Any]], format_: Format, title: str = "") -> None:
    """Print rows that share their keys to standard output; nested mappings become columns `outer.inner`, but in
    JSON."""
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
    """A nested column's name on several lines. The point of a number, as in P@0.5, is no nesting.

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
    """A bar on standard error, fed with (done, total); silent in a pipe."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
