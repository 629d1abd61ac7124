"""Prints rows for people and for programs: a list of mappings as a table, JSON or CSV."""

import csv
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from itertools import chain, groupby
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from barbench.progress import OnProgress
from barbench.reports.formats.terminal import Terminal
from barbench.reports.tables.table import Entry, Header, Section, Table
from barbench.values import flatten


class Format(StrEnum):
    """The values of `--format` for printed rows."""

    table = "table"
    json = "json"
    csv = "csv"


def stdout_console(width: int = 100) -> Console:
    """A rich console on standard output; a pipe is taken to have `width` columns."""
    if sys.stdout.isatty():
        return Console()
    return Console(width=width)


def print_rows(rows: Sequence[Mapping[str, Any]], format_: Format, title: str = "", section: str = "") -> None:
    """Print rows to standard output as a table, JSON or CSV.

    Args:
        rows: mappings with the same keys; nested mappings become columns `outer.inner`, except in JSON.
        section: key whose value is a heading over the rows of a table that follow each other; "": no headings.
    """
    if format_ is Format.json:
        print(json.dumps(list(rows), indent=1, ensure_ascii=False))
    elif format_ is Format.csv:
        _print_csv(rows)
    else:
        stdout_console(160).print(Terminal(rows_table(rows, title, section)))


def print_notes(notes: Iterable[str]) -> None:
    """Print notes to standard error, so that they are in no table."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def rows_table(rows: Sequence[Mapping[str, Any]], title: str = "", section: str = "") -> Table:
    """Rows as a table; the keys of a nested mapping become columns under its name, long texts fold."""
    flat = [flatten(row) for row in rows]
    headings = [str(row.pop(section, "")) for row in flat]
    headers = []
    columns = []
    # A column per key, aligned right where it has numbers alone.
    for key in _keys(flat):
        values = [row.get(key) for row in flat]
        numeric = all(isinstance(value, int | float) for value in values)
        group, name = _split(key)
        headers.append(Header(group, name, "right" if numeric else "left", folds=True))
        columns.append([Entry(_text(value)) for value in values])
    # Rows that follow each other under one heading are a section.
    body = zip(headings, zip(*columns, strict=True), strict=True) if columns else ()
    sections = []
    for heading, members in groupby(body, key=lambda pair: pair[0]):
        sections.append(Section(heading, tuple(row for _, row in members)))
    return Table(title, "", tuple(headers), tuple(sections))


def _print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    flat = [flatten(row) for row in rows]
    writer = csv.DictWriter(sys.stdout, _keys(flat), lineterminator="\n")
    writer.writeheader()
    for row in flat:
        writer.writerow({key: _plain(value) for key, value in row.items()})


def _keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that some row has, in the order in which they are met."""
    return list(dict.fromkeys(chain.from_iterable(rows)))


def _split(key: str) -> tuple[str, str]:
    """The group and the name of a column. The point in a number, as in P@0.5, is no nesting.

    >>> _split("val.P@0.5")
    ('val', 'P@0.5')
    """
    *group, name = re.split(r"(?<!\d)\.|\.(?!\d)", key)
    return " ".join(group), name


def _plain(value: Any) -> str:
    """A value for programs: numbers with every digit, lists with blanks."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return _joined(value, " ")
    return str(value)


def _text(value: Any) -> str:
    """A value for people: four digits, thousands with commas."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return _joined(value, ", ")
    # True is a number, too.
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def _joined(values: Sequence[Any], separator: str) -> str:
    parts = []
    for value in values:
        parts.append("-" if value is None else str(value))
    return separator.join(parts)


LINE_SECONDS = 30.0
"""Between two lines of progress in a pipe."""


@contextmanager
def progress_bar(what: str, shown: bool = True) -> Iterator[OnProgress]:
    """Show progress on standard error: a bar on a terminal, a line now and then in a pipe. Yields the callback that
    moves it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what) if shown else lambda done, total: None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> OnProgress:
    """A callback that prints `profiling 3/11`, at most one line in LINE_SECONDS, so that short work prints nothing."""
    last = time.monotonic()

    def on_progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_SECONDS:
            last = now
            print(f"{what} {done:,}/{total:,}", file=sys.stderr, flush=True)

    return on_progress
