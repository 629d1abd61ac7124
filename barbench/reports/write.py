"""Writes a report as files: `barbench report` writes `table4.md`, `table4.tex`, `report.html` and so on; the same
records give the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from barbench.errors import UsageError
from barbench.files import write_atomically
from barbench.paper.tables import TABLES
from barbench.reports.report import Report, files_of
from barbench.reports.tables.build import build
from barbench.reports.tables.grouping import group
from barbench.reports.tables.table import Table
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store


class Written(NamedTuple):
    """The files of a report in the order of writing, and its tables by number."""

    paths: list[Path]
    tables: Mapping[str, Sequence[Table]]


def write_reports(
    store: Store, out: Path, tables: Sequence[str] | None = None, formats: Sequence[str] = ("md", "latex")
) -> Written:
    """Write tables from the records of a results folder, in each format; records are read and grouped once.

    Args:
        store: the results folder.
        out: folder to write into; files that would not change are left alone.
        tables: numbers of the paper's tables; None for all.
        formats: names of FORMATS; an empty sequence builds the tables without writing any.

    Raises:
        UnknownName: for a table or a format that does not exist.
        UsageError: if there is no record.
    """
    # Unknown formats are refused before any work.
    writers = [files_of(name) for name in formats]
    records = store.all()
    if not records:
        raise UsageError(f"no records in {store.folder}: `barbench run` writes them")
    groups = group(records)
    evidence = ResampledScores(store)
    built = {}
    for number in tables or TABLES.names():
        built[number] = build(number, groups, evidence)
    report = Report(built, records, groups, store, evidence, out)
    paths = []
    for files in writers:
        for name, text in files(report):
            path = out / name
            content = text.encode()
            if not path.is_file() or path.read_bytes() != content:
                write_atomically(path, content)
            paths.append(path)
    return Written(paths, built)
