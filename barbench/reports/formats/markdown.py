"""A Table as GitHub markdown: headers flattened to one level; bold for the best, and for what is not distinguishable
from it."""

import re
from collections.abc import Iterator, Sequence

from barbench.reports.report import Report, file_stem
from barbench.reports.tables.table import BOLD, Align, Entry, Table

PADDING = {"left": "<", "center": "^", "right": ">"}
RULES = {"left": ":-{}", "center": ":{}:", "right": "-{}:"}


def files(report: Report) -> Iterator[tuple[str, str]]:
    """One file per number, with all tables of it."""
    for number, tables in report.tables.items():
        yield f"{file_stem(number)}.md", "\n".join(map(render, tables))


def render(table: Table) -> str:
    """Markdown of `table` with its title, caption and notes; ends with one newline."""
    footnotes = [f"- <sup>{n}</sup> {escape(text)}" for n, text in enumerate(table.footnotes, 1)]
    notes = [f"- {escape(note)}" for note in table.notes]
    parts = [
        f"### {escape(table.title)}",
        escape(table.caption),
        grid(table),
        "\n".join(footnotes + notes),
    ]
    return "\n\n".join(parts) + "\n"


def grid(table: Table) -> str:
    """Markdown of the columns and rows alone, without a newline at the end."""
    # Markdown has one header row: a group's name is before the column's.
    names = []
    for header in table.headers:
        name = f"{header.group} {header.name}".strip()
        names.append(escape(name) + _marks(header.footnotes))
    rows: list[list[str]] = []
    spans = []
    for section in table.sections:
        if section.heading:
            spans.append(len(rows))
            rows.append([f"*{escape(section.heading)}*", *[""] * (len(names) - 1)])
        for row in section.rows:
            rows.append([_entry(entry) for entry in row])
    return pipe_table(names, rows, [header.align for header in table.headers], spans)


def pipe_table(
    names: Sequence[str], rows: Sequence[Sequence[str]], aligns: Sequence[Align], spans: Sequence[int] = ()
) -> str:
    """Set cells that are markdown already as a table.

    Args:
        spans: positions of rows that are headings: their text does not widen a column.

    Returns:
        Lines without a newline at the end.
    """
    # A column is as wide as its cells; headings of sections run over all of them.
    measured = [row for place, row in enumerate(rows) if place not in spans]
    widths = [max(3, *map(len, column)) for column in zip(names, *measured, strict=True)]
    rule = []
    for align, width in zip(aligns, widths, strict=True):
        rule.append(RULES[align].format("-" * (width - 2)))
    lines = []
    for cells in (names, rule, *rows):
        padded = []
        for cell, align, width in zip(cells, aligns, widths, strict=True):
            padded.append(f"{cell:{PADDING[align]}{width}}")
        lines.append(f"| {' | '.join(padded)} |")
    return "\n".join(lines)


def escape(text: str) -> str:
    """`text` as one line of literal markdown."""
    return re.sub(r"([\\`*_\[\]<>|~#&])", r"\\\1", " ".join(text.split()))


def _entry(entry: Entry) -> str:
    text = escape(entry.text)
    if entry.mark in BOLD:
        text = f"**{text}**"
    return text + _marks(entry.footnotes)


def _marks(footnotes: tuple[int, ...]) -> str:
    if not footnotes:
        return ""
    return f" <sup>{', '.join(map(str, footnotes))}</sup>"
