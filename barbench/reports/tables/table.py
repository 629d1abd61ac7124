"""A finished table as plain data: markdown, LaTeX, HTML and the terminal all render this."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

Mark = Literal["best"]
"""The best of a column, and all that are not distinguishable from it."""


@dataclass(frozen=True)
class Header:
    """A column.

    Attributes:
        group: name over several columns; empty for a column on its own.
        name: of the column.
        align: of its entries.
        footnotes: numbers, from 1.
    """

    group: str
    name: str
    align: Literal["left", "center", "right"] = "right"
    footnotes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Entry:
    """What one cell prints.

    Attributes:
        text: as printed.
        value: the printed number, to sort by; None for text.
        mark: whether it is bold.
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
        title: above it.
        caption: below the title.
        headers: one per column.
        sections: the rows.
        notes: below the table.
        footnotes: texts that entries and headers refer to by number, from 1.
        number: of the paper's table.
        measured: identifies the set of conditions of a table of measured rows alone; empty with published rows.
    """

    title: str
    caption: str
    headers: tuple[Header, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    footnotes: tuple[str, ...]
    number: str = ""
    measured: str = ""

    @property
    def header_groups(self) -> list[tuple[str, int]]:
        """Group names with the number of adjacent columns under each; columns on their own come one by one."""
        runs = groupby(enumerate(self.headers), key=lambda item: item[1].group or item[0])
        return [(key if isinstance(key, str) else "", len(list(members))) for key, members in runs]

    def select(self, columns: Sequence[int]) -> "Table":
        """The same table with only the columns at these positions."""
        sections = [
            replace(section, rows=tuple(tuple(row[i] for i in columns) for row in section.rows))
            for section in self.sections
        ]
        return replace(self, headers=tuple(self.headers[i] for i in columns), sections=tuple(sections))


class Footnotes:
    """Texts numbered from 1 in the order of their first use."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, *texts: str) -> tuple[int, ...]:
        """Number texts; a text that is already there keeps its number.

        Args:
            *texts: any number of them.

        Returns:
            Their numbers.
        """
        self.texts += [text for text in dict.fromkeys(texts) if text not in self.texts]
        return tuple(self.texts.index(text) + 1 for text in texts)
