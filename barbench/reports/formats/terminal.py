"""Prints a Table on the terminal, set like the paper's: `rich.console.Console().print(Terminal(table))`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from barbench.reports.tables.table import EntryRow, Table

TERMINAL = "terminal"
"""The format of tables that are printed, beside those of files."""
STYLES = {"best": "bold", "differs": "bold", "failed": "red", None: ""}
GAP = "  "
WORD = 24
"""The longest word that a folding column is made wide for."""


@dataclass(frozen=True)
class Terminal:
    """A table for rich, with caption and notes; if the console is too narrow, column groups continue below.

    rich's own Table has neither headers over several columns nor headings across the table.
    """

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self.table
        if table.title:
            yield Text(table.title, style="bold")
        if table.caption:
            yield Text(table.caption)
        for number, block in enumerate(_blocks(table, options.max_width)):
            if number > 0 or table.caption:
                yield Text()
            yield from _Grid(block, options.max_width).lines(console)
        for number, text in enumerate(table.footnotes, 1):
            yield Text(f"[{number}] {text}")
        for note in table.notes:
            yield Text(note, style="dim")


def show(tables: Iterable[Table], console: Console) -> None:
    """Print tables with an empty line around each."""
    for table in tables:
        console.print()
        console.print(Terminal(table))
    console.print()


def _blocks(table: Table, room: int) -> list[Table]:
    """Cut a table between column groups into pieces that fit `room` if possible, each with the first column."""
    blocks = [[0]]
    for group in _groups(table, room):
        if len(blocks[-1]) > 1 and _Grid(table.select(blocks[-1] + group)).rule > room:
            blocks.append([0])
        blocks[-1] += group
    if len(blocks) == 1:
        return [table]
    # A piece whose columns are all empty says nothing.
    pieces = [_without_empty(table.select(block)) for block in blocks]
    return [piece for piece in pieces if piece.rows] or pieces[:1]


def _groups(table: Table, room: int) -> list[list[int]]:
    """The positions of the columns after the first, by group; a group that is wider than `room` is divided."""
    # The first column is in every piece, so that it belongs to no group.
    groups = []
    start = 0
    for _, count in table.header_groups:
        group = list(range(max(start, 1), start + count))
        if len(group) > 1 and _Grid(table.select([0, *group])).rule > room and table.headers[group[0]].folds:
            groups += [[column] for column in group]
        elif group:
            groups.append(group)
        start += count
    return groups


def _without_empty(table: Table) -> Table:
    """The table without rows that have only their first entry, as happens in a piece of a wide table."""
    sections = []
    for section in table.sections:
        rows = []
        for row in section.rows:
            if any(entry.text for entry in row[1:]):
                rows.append(row)
        if rows:
            sections.append(replace(section, rows=tuple(rows)))
    return replace(table, sections=tuple(sections))


class _Cell(NamedTuple):
    """A text, and the marks of its footnotes: these have a column of their own, so that numbers stay aligned."""

    text: Text
    marks: Text


class _Grid:
    """A table as lines: group names over rules, column names, sections.

    Attributes:
        texts: the width of each column.
        marks: the width of the footnote marks beside it.
        groups: the name and the width of each group of columns.
    """

    def __init__(self, table: Table, room: int = 0) -> None:
        """Set the widths; columns that fold are as wide as `room` allows, and as narrow as they can be without it."""
        self.table = table
        self.names = [_Cell(Text(header.name, style="bold"), _marks(header.footnotes)) for header in table.headers]
        self.sections: list[list[list[_Cell]]] = []
        for section in table.sections:
            self.sections.append([_cells(row) for row in section.rows])
        # Each step reads the widths of the one before.
        self._measure()
        self._widen_for_groups()
        self._fill(room)
        self.groups = self._measure_groups()
        self.rule = _abreast([width for _, width in self.groups])
        headings = [cell_len(section.heading) for section in table.sections]
        self.width = max(self.rule, *headings, 0)

    def lines(self, console: Console) -> Iterator[Text]:
        """The lines from top to bottom."""
        # Groups of columns, with a rule under each name.
        if any(name for name, _ in self.groups):
            names = []
            rules = []
            for name, width in self.groups:
                names.append(name.center(width))
                rules.append("─" * width if name else " " * width)
            yield _unwrapped(Text(GAP.join(names), style="bold"))
            yield _unwrapped(Text(GAP.join(rules)))
        # The columns between two rules.
        rule = Text("─" * self.rule)
        yield from self._line(self.names, console)
        yield rule
        for section, rows in zip(self.table.sections, self.sections, strict=True):
            if section.heading:
                yield Text()
                yield Text(section.heading, style="italic")
            for row in rows:
                yield from self._line(row, console)
        yield rule

    def _measure(self) -> None:
        """Measure each column: the width that it needs, the width that shows everything, and that of its marks."""
        self.texts: list[int] = []
        self.marks: list[int] = []
        self.natural: list[int] = []
        rows = [row for rows in self.sections for row in rows]
        for header, name, *cells in zip(self.table.headers, self.names, *rows, strict=True):
            column = [name, *cells]
            natural = max(_width(cell.text.plain) for cell in column)
            self.natural.append(natural)
            self.texts.append(_least(name, cells) if header.folds else natural)
            self.marks.append(max(cell.marks.cell_len for cell in column))

    def _measure_groups(self) -> list[tuple[str, int]]:
        groups = []
        start = 0
        for name, count in self.table.header_groups:
            end = start + count
            groups.append((name, _abreast(self.texts[start:end]) + sum(self.marks[start:end])))
            start = end
        return groups

    def _widen_for_groups(self) -> None:
        """Make the first column of a group wider where the name of the group is wider than its columns."""
        start = 0
        for (name, width), (_, count) in zip(self._measure_groups(), self.table.header_groups, strict=True):
            self.texts[start] += max(0, cell_len(name) - width)
            start += count

    def _fill(self, room: int) -> None:
        """Share what is left of the room evenly among the folding columns that could use it."""
        # Each round gives one cell to every column that cannot show all of its text.
        spare = room - _abreast(self.texts) - sum(self.marks)
        while spare > 0:
            narrow = [column for column, width in enumerate(self.texts) if width < self.natural[column]]
            if not narrow:
                return
            for column in narrow[:spare]:
                self.texts[column] += 1
            spare -= len(narrow)

    def _line(self, cells: Sequence[_Cell], console: Console) -> Iterator[Text]:
        """One row: a single line, or several where a column folds."""
        folded = []
        for cell, header, width in zip(cells, self.table.headers, self.texts, strict=True):
            if header.folds:
                folded.append(list(cell.text.wrap(console, width, overflow="fold")))
            else:
                folded.append([cell.text])
        for number in range(max(map(len, folded), default=0)):
            parts = []
            for column, texts in enumerate(folded):
                body = texts[number].copy() if number < len(texts) else Text()
                body.align(self.table.headers[column].align, self.texts[column])
                # The marks of footnotes are beside the first line.
                marks = cells[column].marks.copy() if number == 0 else Text()
                marks.align("left", self.marks[column])
                parts.append(body + marks)
            yield _unwrapped(Text(GAP).join(parts))


def _least(name: _Cell, cells: Sequence[_Cell]) -> int:
    """The width below which a column cuts a word of its name, or a word of an entry that has at most WORD letters."""
    widths = [1, *map(cell_len, name.text.plain.split())]
    for cell in cells:
        for word in cell.text.plain.split():
            if cell_len(word) <= WORD:
                widths.append(cell_len(word))
    return max(widths)


def _abreast(widths: Sequence[int]) -> int:
    """The width of columns with the gaps between them."""
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _width(text: str) -> int:
    """The width of the longest line of a text."""
    return max(map(cell_len, text.split("\n")))


def _unwrapped(line: Text) -> Text:
    line.rstrip()
    line.no_wrap = True
    return line


def _cells(row: EntryRow) -> list[_Cell]:
    cells = []
    for entry in row:
        text = Text.assemble((entry.text, STYLES[entry.mark]))
        cells.append(_Cell(text, _marks(entry.footnotes)))
    return cells


def _marks(footnotes: tuple[int, ...]) -> Text:
    if not footnotes:
        return Text()
    numbers = ",".join(map(str, footnotes))
    return Text(f" [{numbers}]", style="dim")
