"""What a table states where its rows come from different code or different devices."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from barbench.reports.tables.grouping import MethodRow
from barbench.results.record import Record

DIGITS = "so that the last digits may differ"


def per_label(what: str, values: Mapping[str, Sequence[str]]) -> str:
    """One sentence `what value.` of a value that rows may differ in, with the rows of each value where there are
    several; empty without values."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{what} {next(iter(values))}."
    shown = [f"{value} ({', '.join(labels)})" for value, labels in values.items()]
    return f"{what} {'; '.join(shown)}."


def provenance_notes(rows: Sequence[MethodRow]) -> list[str]:
    """Notes that a reader needs who compares rows that were not measured in one place.

    There are none where all finished records were made by one version of the code, on devices of one name, and on a
    processor with as many threads. A cell that was interrupted may have been on several devices.
    """
    # Which code, barbench's and that of a user's own method.
    notes = []
    code = _rows_of(rows, _code)
    if len(code) > 1:
        notes.append(per_label("Made by different versions of barbench:", code))
    edited = [row.label for row in rows if len(_rows_of([row], _own_code(row))) > 1]
    if edited:
        notes.append(f"The module of the method changed between records: {', '.join(edited)}.")
    # On which devices, with how many threads.
    devices = _rows_of(rows, _devices)
    if len(devices) > 1:
        notes.append(per_label(f"Computed on different devices, {DIGITS}:", devices))
    threads = _rows_of(rows, _threads)
    if len(threads) > 1:
        notes.append(per_label(f"Computed with different numbers of threads, {DIGITS}:", threads))
    return notes


def _code(record: Record) -> list[object]:
    return [record.environment.get("code")]


def _own_code(row: MethodRow) -> Callable[[Record], list[object]]:
    """The code of a user's own method; in older records together with barbench's."""
    made = [record.environment for record in row.records if record.status == "done"]
    key = "own_code" if all("own_code" in each for each in made) else "method_code"
    return lambda record: [record.environment.get(key)]


def _devices(record: Record) -> list[object]:
    return [record.environment.get("device"), *(attempt.device for attempt in record.attempts)]


def _threads(record: Record) -> list[object]:
    """Of a processor; a GPU's results do not depend on them."""
    if record.environment.get("gpus"):
        return []
    return [record.environment.get("threads")]


def _rows_of(rows: Sequence[MethodRow], values: Callable[[Record], Iterable[object]]) -> dict[str, list[str]]:
    """The labels of the rows by the values of their finished records; old records may have none."""
    labels: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        found: dict[str, None] = {}
        for record in row.records:
            if record.status == "done":
                found.update(dict.fromkeys(str(value) for value in values(record) if value))
        for value in found:
            labels[value].append(row.label)
    return dict(sorted(labels.items()))
