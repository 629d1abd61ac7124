"""What a table states where its rows come from different code or different devices."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from barbench.reports.tables.grouping import MethodRow
from barbench.results.record import Record

DIGITS = "so that the last digits may differ"


def per_label(what: str, values: Mapping[str, Sequence[str]]) -> str:
    """One sentence of a value that rows may differ in.

    Args:
        what: the value is.
        values: the labels of the rows with each value.

    Returns:
        `what value.`, with the rows of each value where there are several; empty without values.
    """
    shown = [f"{value} ({', '.join(labels)})" for value, labels in values.items()] if len(values) > 1 else [*values]
    return f"{what} {'; '.join(shown)}." if shown else ""


def provenance_notes(rows: Sequence[MethodRow]) -> list[str]:
    """Notes that a reader needs who compares rows that were not measured in one place.

    Args:
        rows: of a table.

    Returns:
        None where all finished records were made by one version of the code, on devices of one name, and on a
            processor with as many threads. A cell that was interrupted may have been on several devices.
    """
    code = _rows_of(rows, lambda record: [record.environment.get("code")])
    devices = _rows_of(rows, lambda record: [record.environment.get("device"), *(a.device for a in record.attempts)])
    threads = _rows_of(rows, lambda r: [] if r.environment.get("gpus") else [r.environment.get("threads")])
    edited = [r.label for r in rows if len(_rows_of([r], lambda record: [record.environment.get("method_code")])) > 1]
    notes = [
        per_label("Made by different versions of barbench:", code) if len(code) > 1 else "",
        f"The module of the method changed between records: {', '.join(edited)}." if edited else "",
        per_label(f"Computed on different devices, {DIGITS}:", devices) if len(devices) > 1 else "",
        per_label(f"Computed with different numbers of threads, {DIGITS}:", threads) if len(threads) > 1 else "",
    ]
    return [note for note in notes if note]


def _rows_of(rows: Sequence[MethodRow], values: Callable[[Record], Iterable[object]]) -> dict[str, list[str]]:
    """The labels of the rows by what their finished records tell; old records tell nothing."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        done = (record for record in row.records if record.status == "done")
        for told in dict.fromkeys(str(value) for record in done for value in values(record) if value):
            found[told].append(row.label)
    return dict(sorted(found.items()))
