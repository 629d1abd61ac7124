"""The tables as files: `barbench report` writes `table4.md`, `table4.tex` and so on; same records, same bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from barbench.errors import UsageError
from barbench.files import write_atomically
from barbench.registry import Registry
from barbench.reports import latex, markdown
from barbench.reports.layout import TABLES
from barbench.reports.model import Table
from barbench.reports.tables import build
from barbench.results.store import Store


@dataclass(frozen=True)
class Format:
    """A kind of file: its suffix and how tables of one number become its text."""

    suffix: str
    render: Callable[[str, Sequence[Table]], str]


def _markdown(number: str, tables: Sequence[Table]) -> str:
    return "\n".join(map(markdown.render, tables))


def _latex(number: str, tables: Sequence[Table]) -> str:
    labels = [f"tab:barbench-{number}{f'-{index}' * (index > 1)}" for index in range(1, len(tables) + 1)]
    return "% \\usepackage{graphicx}\n" + "\n".join(map(latex.render, tables, labels))


FORMATS: Registry[Format] = Registry("format")
FORMATS.register("md", Format("md", _markdown))
FORMATS.register("latex", Format("tex", _latex))


def write_reports(
    store: Store, out: Path, tables: Sequence[str] | None = None, formats: Sequence[str] = ("md", "latex")
) -> list[Path]:
    """Write each table (None: all) in each format from the records in `store`, into `out`; returns the files in order.

    One file holds every table of its number: one for each set of conditions found. Raises UnknownName, and UsageError
    where there is no record.
    """
    kinds = [FORMATS.get(name) for name in formats]
    records = store.all()
    if not records:
        raise UsageError(f"no records in {store.folder}: `barbench run` writes them")
    built = {number: build(number, records) for number in tables or TABLES.names()}
    paths = []
    for number in built:
        for kind in kinds:
            path = out / f"table{number}.{kind.suffix}"
            content = kind.render(number, built[number]).encode()
            if not path.is_file() or path.read_bytes() != content:
                write_atomically(path, content)
            paths.append(path)
    return paths
