"""Finished cells of a user's own method that was edited since: their scores are those of another method."""

from collections.abc import Iterable

from barbench.benchmarks.execution.host.source import code_hash, own_code
from barbench.errors import UsageError
from barbench.results.record import Record
from barbench.spec.text import plural


def check_unedited(records: Iterable[Record | None]) -> None:
    """UsageError where the source of a finished record's method is not what it was; None, and what is not finished, is
    left out."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record is not None and record.status == "done" and _was_edited(record):
            found.setdefault(record.cell.method, []).append(record)
    for method, edited in found.items():
        raise UsageError(
            f"{method} was edited since {plural(len(edited), 'finished cell')} of it ended, such as "
            f"{edited[0].cell.stem()}: barbench run --again trains what is asked for again and keeps the old records "
            "under other names; another folder with --results keeps both"
        )


def _was_edited(record: Record) -> bool:
    """Whether the code of its method is known, and is another one now."""
    now = own_code(record.cell.method)
    made = record.environment
    if not now:
        return False
    if "own_code" in made:
        return made["own_code"] != now
    # Older records have one hash of barbench's code and the method's: it says something where barbench is the same.
    if "method_code" not in made or made.get("code") != code_hash():
        return False
    code_hash.cache_clear()
    return made["method_code"] != code_hash(record.cell.method)
