"""Reading a Table in tests: texts of a section, the one measured table, a column by its headers."""

from barbench.reports.tables.build import build_measured
from barbench.reports.tables.grouping import group
from barbench.reports.tables.table import Entry, Section, Table
from barbench.results.record import Record

AVERAGES = [("Avg", "datasets"), ("Avg", "columns")]


def texts(section: Section) -> list[list[str]]:
    return [[entry.text for entry in row] for row in section.rows]


def one(number: str, records: list[Record]) -> Table:
    [table] = build_measured(number, group(records))
    return table


def cells(table: Table, name: str, group: str = "") -> dict[str, Entry]:
    [index] = [i for i, header in enumerate(table.headers) if (header.group, header.name) == (group, name)]
    return {row[0].text: row[index] for row in table.sections[0].rows}
