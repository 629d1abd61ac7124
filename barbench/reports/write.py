"""A report as files: `barbench report` writes `table4.md`, `table4.tex`, `report.html` and so on; same records, same
bytes."""

from collections.abc import Sequence
from pathlib import Path

from barbench.errors import UsageError
from barbench.files import write_atomically
from barbench.paper.tables import TABLES
from barbench.reports.report import Report, files_of
from barbench.reports.tables.build import build
from barbench.results.store import Store


def write_reports(
    store: Store, out: Path, tables: Sequence[str] | None = None, formats: Sequence[str] = ("md", "latex")
) -> list[Path]:
    """Write each table (None: all) in each format from the records in `store`, into `out`; returns the files in order.

    Raises UnknownName, and UsageError where there is no record.
    """
    writers = [files_of(name) for name in formats]
    records = store.all()
    if not records:
        raise UsageError(f"no records in {store.folder}: `barbench run` writes them")
    report = Report({number: build(number, records) for number in tables or TABLES.names()}, records, store, out)
    paths = []
    for files in writers:
        for name, text in files(report):
            path, content = out / name, text.encode()
            if not path.is_file() or path.read_bytes() != content:
                write_atomically(path, content)
            paths.append(path)
    return paths
