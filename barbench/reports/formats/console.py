"""Prints a Table on the terminal, set like the paper's: `rich.console.Console().print(Terminal(table))`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from barbench.reports.tables.table import Entry, Table

TERMINAL = "terminal"
"""The format of tables that are printed, beside those of files."""
STYLES = {"best": "bold", None: ""}
GAP = "  "


@dataclass(frozen=True)
class Terminal:
    """A table for rich, with caption and notes; if the console is too narrow, column groups continue below.

    rich's own Table has neither headers over several columns nor headings across the table.
    """

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.table.title, style="bold")
        yield Text(self.table.caption)
        for block in _blocks(self.table, options.max_width):
            yield Text()
            yield from _grid(block)
        for n, text in enumerate(self.table.footnotes, 1):
            yield Text(f"[{n}] {text}")
        for note in self.table.notes:
            yield Text(note, style="dim")


def show(tables: Iterable[Table], console: Console) -> None:
    """Print tables with an empty line around each."""
    for table in tables:
        console.print()
        console.print(Terminal(table))
    console.print()


def _blocks(table: Table, room: int) -> list[Table]:
    """Cut a table between column groups into pieces that fit `room` if possible, each with the first column."""
    sizes = [count for _, count in table.header_groups]
    starts = list(accumulate(sizes, initial=0))
    blocks = [[0]]
    for start, size in list(zip(starts, sizes, strict=False))[1:]:
        group = list(range(start, start + size))
        if len(blocks[-1]) > 1 and _width(table.select(blocks[-1] + group)) > room:
            blocks.append([0])
        blocks[-1] += group
    return [_without_empty(table.select(block)) for block in blocks]


def _without_empty(table: Table) -> Table:
    """The table without rows that have only their first entry, as happens in a piece of a wide table."""
    sections = [
        replace(section, rows=tuple(row for row in section.rows if any(entry.text for entry in row[1:])))
        for section in table.sections
    ]
    return replace(table, sections=tuple(section for section in sections if section.rows))


def _width(table: Table) -> int:
    return max(line.cell_len for line in _grid(table))


def _grid(table: Table) -> Iterator[Text]:
    """The lines of the table itself: group names over rules, column names, sections."""
    names = [(Text(header.name, style="bold"), _marks(header.footnotes)) for header in table.headers]
    sections = [[[_entry(entry) for entry in row] for row in section.rows] for section in table.sections]
    columns = list(zip(names, *(row for rows in sections for row in rows), strict=True))
    texts = [max(text.cell_len for text, _ in column) for column in columns]
    marks = [max(mark.cell_len for _, mark in column) for column in columns]
    groups, start = [], 0
    for group, count in table.header_groups:
        room = sum(texts[start : start + count]) + sum(marks[start : start + count]) + len(GAP) * (count - 1)
        texts[start] += max(0, len(group) - room)
        groups.append((group, max(len(group), room)))
        start += count
    aligns = [header.align for header in table.headers]

    def line(cells: list[tuple[Text, Text]]) -> Text:
        parts = []
        for (text, mark), align, width, aside in zip(cells, aligns, texts, marks, strict=True):
            body, tail = text.copy(), mark.copy()
            body.align(align, width)
            tail.align("left", aside)
            parts.append(body + tail)
        return _unwrapped(Text(GAP).join(parts))

    rule = Text("─" * (sum(room for _, room in groups) + len(GAP) * (len(groups) - 1)))
    if any(group for group, _ in groups):
        yield _unwrapped(Text(GAP.join(group.center(room) for group, room in groups).rstrip(), style="bold"))
        yield _unwrapped(Text(GAP.join(("─" if group else " ") * room for group, room in groups).rstrip()))
    yield line(names)
    yield rule
    for section, rows in zip(table.sections, sections, strict=True):
        if section.heading:
            yield Text()
            yield Text(section.heading, style="italic")
        yield from map(line, rows)
    yield rule


def _unwrapped(line: Text) -> Text:
    line.rstrip()
    line.no_wrap = True
    return line


def _entry(entry: Entry) -> tuple[Text, Text]:
    return Text.assemble((entry.text, STYLES[entry.mark])), _marks(entry.footnotes)


def _marks(footnotes: tuple[int, ...]) -> Text:
    return Text(f" [{','.join(map(str, footnotes))}]" if footnotes else "", style="dim")
