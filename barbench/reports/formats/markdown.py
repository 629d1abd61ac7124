"""A Table as GitHub markdown: headers flattened to one level; bold for the best, and for what is not distinguishable
from it."""

import re
from collections.abc import Iterator

from barbench.reports.report import Report
from barbench.reports.tables.table import Entry, Table

ALIGN = {"left": "<", "center": "^", "right": ">"}
RULES = {"<": ":-{}", "^": ":{}:", ">": "-{}:"}


def files(report: Report) -> Iterator[tuple[str, str]]:
    """One file per number, with all tables of it."""
    for number, tables in report.tables.items():
        yield f"table{number}.md", "\n".join(map(render, tables))


def render(table: Table) -> str:
    """Markdown of `table` with its title, caption and notes; ends with one newline."""
    rows = [[_entry(entry) for entry in row] for section in table.sections for row in section.rows]
    names = [escape(f"{header.group} {header.name}".strip()) + _marks(header.footnotes) for header in table.headers]
    widths = [max(3, *map(len, column)) for column in zip(names, *rows, strict=True)]
    aligns = [ALIGN[header.align] for header in table.headers]

    def line(cells: list[str]) -> str:
        padded = [f"{cell:{align}{width}}" for cell, align, width in zip(cells, aligns, widths, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = [RULES[align].format("-" * (width - 2)) for align, width in zip(aligns, widths, strict=True)]
    lines = [line(names), line(rule)]
    for section in table.sections:
        if section.heading:
            lines.append(line([f"*{escape(section.heading)}*", *[""] * (len(widths) - 1)]))
        lines += [line([_entry(entry) for entry in row]) for row in section.rows]
    notes = [f"- {escape(note)}" for note in table.notes]
    footnotes = [f"- <sup>{n}</sup> {escape(text)}" for n, text in enumerate(table.footnotes, 1)]
    parts = (f"### {escape(table.title)}", escape(table.caption), "\n".join(lines), "\n".join(footnotes + notes))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """`text` as one line of literal markdown."""
    return re.sub(r"([\\`*_\[\]<>|~#&])", r"\\\1", " ".join(text.split()))


def _entry(entry: Entry) -> str:
    text = escape(entry.text)
    if entry.mark == "best":
        text = f"**{text}**"
    return text + _marks(entry.footnotes)


def _marks(footnotes: tuple[int, ...]) -> str:
    return f" <sup>{', '.join(map(str, footnotes))}</sup>" if footnotes else ""
