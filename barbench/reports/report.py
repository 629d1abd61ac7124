"""What a report consists of, and the formats that it is written in: `barbench report --format md,latex,html`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from barbench.registry import Registry
from barbench.reports.tables.grouping import Group
from barbench.reports.tables.table import Table
from barbench.results.qualitative import FindScenes, Scenes
from barbench.results.record import Cell, Record
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store

PICTURES: Final = 1_500_000
"""Bytes of thumbnails inside the page, unless told otherwise."""


def no_scenes(cell: Cell) -> Mapping[str, Scenes]:
    """Nothing of any cell: its data were not asked for."""
    return {}


class Report(NamedTuple):
    """What every format is written from: the tables by number, the records and their groups, the counts of expressions,
    what the data say of these, and how many bytes of thumbnails the page may hold."""

    tables: Mapping[str, Sequence[Table]]
    records: Sequence[Record]
    groups: Sequence[Group]
    store: Store
    evidence: ResampledScores
    out: Path
    find_scenes: FindScenes
    pictures: int


Files = Callable[[Report], Iterator[tuple[str, str | bytes]]]
"""Of a format: the name of each of its files, and the content."""

FORMATS: Registry[str] = Registry("format")
"""Name -> the module whose `files` writes it; imported only when it is asked for, because drawing takes matplotlib."""

FORMATS.register("md", "barbench.reports.formats.markdown")
FORMATS.register("latex", "barbench.reports.formats.latex")
FORMATS.register("html", "barbench.reports.page.html")


def file_stem(number: str) -> str:
    """The name of a table's file without suffix: `table4` for a number of the paper, else the table's own name."""
    return f"table{number}" if number.isdigit() else number


def files_of(name: str) -> Files:
    """The function that writes a format of FORMATS; raises UnknownName for another."""
    module: Any = import_module(FORMATS.get(name))
    files: Files = module.files
    return files
