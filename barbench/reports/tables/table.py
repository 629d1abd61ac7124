"""A finished table as plain data: markdown, LaTeX, HTML and the terminal all render this."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, Literal

Align = Literal["left", "center", "right"]
Mark = Literal["best", "differs", "failed"]
"""The best of a column and all that are not distinguishable from it; a difference that is more than chance; or a
failure."""
BOLD: Final = ("best", "differs")


@dataclass(frozen=True)
class Header:
    """A column.

    Attributes:
        group: name over several columns; empty for a column on its own.
        footnotes: numbers, from 1.
        folds: whether a long text may continue on the next line of a terminal.
    """

    group: str
    name: str
    align: Align = "right"
    footnotes: tuple[int, ...] = ()
    folds: bool = False


@dataclass(frozen=True)
class Entry:
    """What one cell prints.

    Attributes:
        value: the printed number, to sort by; None for text.
        mark: how it is set off; None for plain text.
        footnotes: numbers, from 1.
    """

    text: str
    value: float | None = None
    mark: Mark | None = None
    footnotes: tuple[int, ...] = ()


EntryRow = tuple[Entry, ...]


@dataclass(frozen=True)
class Section:
    """Rows under a heading that spans the table; an empty heading is not printed."""

    heading: str
    rows: tuple[EntryRow, ...]


@dataclass(frozen=True)
class Table:
    """A finished table.

    Attributes:
        headers: one per column.
        notes: below the table.
        footnotes: texts that entries and headers refer to by number, from 1.
        number: of the paper's table.
        measured: identifies the set of conditions of a table of measured rows alone; empty with published rows.
    """

    title: str
    caption: str
    headers: tuple[Header, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    footnotes: tuple[str, ...] = ()
    number: str = ""
    measured: str = ""

    @property
    def rows(self) -> list[EntryRow]:
        """The rows of all sections."""
        return [row for section in self.sections for row in section.rows]

    @property
    def header_groups(self) -> list[tuple[str, int]]:
        """Group names with the number of adjacent columns under each; columns on their own come one by one."""
        groups: list[tuple[str, int]] = []
        for name, members in groupby(self.headers, key=lambda header: header.group):
            count = len(list(members))
            if name:
                groups.append((name, count))
            else:
                groups += [("", 1)] * count
        return groups

    def select(self, columns: Sequence[int]) -> "Table":
        """The same table with only the columns at these positions."""
        sections = []
        for section in self.sections:
            rows = []
            for row in section.rows:
                rows.append(tuple(row[column] for column in columns))
            sections.append(Section(section.heading, tuple(rows)))
        headers = tuple(self.headers[column] for column in columns)
        return replace(self, headers=headers, sections=tuple(sections))


class Footnotes:
    """Texts numbered from 1 in the order of their first use."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, *texts: str) -> tuple[int, ...]:
        """The numbers of texts; a text that is already there keeps its number."""
        numbers = []
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
            numbers.append(self.texts.index(text) + 1)
        return tuple(numbers)
