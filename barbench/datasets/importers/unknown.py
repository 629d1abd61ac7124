"""Says what a source is that cannot be read as any of the forms. Used by `importers.source`."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from barbench.datasets.importers.archive import is_workbook
from barbench.datasets.importers.honest import file_refusal
from barbench.datasets.importers.names import SourceFormat, found_files
from barbench.datasets.importers.rows import TABLE_FILES, read_rows
from barbench.errors import DataError, UsageError

SHOWN = 3


def refuse_other_files(files: Iterable[Path]) -> None:
    """Stop at a file that is not what its name says: a UsageError says what it is."""
    for path in files:
        reason = file_refusal(path)
        if reason is None and is_workbook(path):
            reason = "a workbook of Excel or LibreOffice: save it as CSV (UTF-8)"
        if reason is not None:
            raise UsageError(f"{path} is {reason}")


def why_unknown(source: Path) -> str:
    """What there is in a source that is none of the forms, and what would be right."""
    forms = ", ".join(get_args(SourceFormat))
    advice = f"the known forms are {forms}: docs/data.md says how each looks, and --form names one"
    reasons = _reasons(found_files(source, *TABLE_FILES))
    if source.is_file():
        if reasons:
            return f"{reasons[0]}. If it is no table: {advice}"
        return f"{source} has none of the known formats; {advice}"
    # What files are that nobody could read, then why tables are none, else which files there are.
    faults = []
    kinds: Counter[str] = Counter()
    for path in found_files(source, "*"):
        reason = file_refusal(path)
        if reason is not None:
            faults.append(f"{path} is {reason}")
        if path.is_file():
            kinds[path.suffix.lower() or "no suffix"] += 1
    faults += reasons
    if faults:
        return f"{source} has none of the known formats. {'. '.join(faults[:SHOWN])}. T{advice[1:]}"
    held = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(SHOWN)) or "nothing"
    return f"{source} has none of the known formats: it holds {held}; {advice}"


def left_out_tables(source: Path, used: Iterable[Path]) -> list[str]:
    """A note for each CSV or TSV file beside the tables that is none."""
    taken = set(used)
    others = [path for path in found_files(source, "*.csv", "*.tsv") if path not in taken]
    return [f"left out: {reason}" for reason in _reasons(others)]


def _reasons(paths: Iterable[Path]) -> list[str]:
    """Why files are no tables."""
    reasons = []
    for path in paths:
        try:
            next(read_rows(path), None)
        except DataError as error:
            reasons.append(str(error))
    return reasons
