"""Prints rows for people and for programs: a list of mappings as a table, JSON or CSV."""

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from barbench.plain import OnProgress, flatten

FRAME = 3  # that a column takes beside its text: a rule and two blanks
WORD = 24  # the longest word that a column is made wide for


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
    width = None if sys.stdout.isatty() else 160
    console = Console(width=width)
    for table in tables(flat, columns, title, console.width):
        console.print(table)


def tables(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str, room: int) -> Iterator[Table]:
    """Set rows as a table, or as several below each other where one is wider than the terminal.

    No heading and no number is cut: the columns that do not fit go into a further table with the first column again.

    Args:
        rows: without nested mappings.
        columns: keys of the rows, in order.
        title: above the first table.
        room: columns of the terminal.

    Yields:
        Tables that fit, unless two columns alone do not.
    """
    texts = {c: [_text(row.get(c), thousands=True) for row in rows] for c in columns}
    numeric = {c: all(isinstance(row.get(c), int | float) for row in rows) for c in columns}
    least = {c: _least(_heading(c), texts[c], numeric[c]) for c in columns}
    blocks: list[list[str]] = [[]]
    for column in columns:
        if len(blocks[-1]) > 1 and sum(least[c] + FRAME for c in (*blocks[-1], column)) >= room:
            blocks.append([columns[0]])
        blocks[-1].append(column)
    for number, block in enumerate(blocks):
        table = Table(title=Text("" if number else title), title_justify="left", header_style="bold")
        for column, width in zip(block, _widths(block, least, texts, room), strict=True):
            justify: Literal["right", "left"] = "right" if numeric[column] else "left"
            table.add_column(_heading(column), justify=justify, overflow="fold", width=width)
        for row in zip(*(texts[column] for column in block), strict=True):
            table.add_row(*map(Text, row))  # Text, not str: a name or a reason such as "[/x]" is no markup
        yield table


def _least(heading: str, cells: Sequence[str], numeric: bool) -> int:
    """The width below which a column cuts a word of its heading, a number, or a word of at most WORD characters."""
    words = [word for cell in cells for word in ([cell] if numeric else cell.split()) if numeric or len(word) <= WORD]
    return max(1, *map(cell_len, heading.split()), *map(cell_len, words))


def _widths(block: Sequence[str], least: Mapping[str, int], texts: Mapping[str, Sequence[str]], room: int) -> list[int]:
    """The least widths, and what is left of the room given evenly to the columns that could use it."""
    whole = {c: max(least[c], *map(cell_len, (*_heading(c).split("\n"), *texts[c]))) for c in block}
    widths = {c: least[c] for c in block}
    spare = room - 1 - sum(widths[c] + FRAME for c in block)
    while spare > 0 and (short := [c for c in block if widths[c] < whole[c]]):
        for column in short[:spare]:
            widths[column] += 1
            spare -= 1
    return list(widths.values())


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
