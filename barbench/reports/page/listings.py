"""What the HTML page lists beside the paper's tables: parameters, failed cells, data problems, how runs were made."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from barbench.plain import flatten
from barbench.reports.page.figures import PART_NAMES
from barbench.reports.page.reproduce import command
from barbench.reports.tables.grouping import Group
from barbench.reports.tables.table import Entry, Header, Section, Table
from barbench.results.record import Record

Pairs = tuple[tuple[str, str], ...]


class RunEnvironment(NamedTuple):
    """One environment that records were made in: a title, and its fields."""

    title: str
    pairs: Pairs


class RunListing(NamedTuple):
    """How the records of one set of conditions were made.

    Attributes:
        key: of the group on the page.
        name: of the group.
        command: makes all records; None if no single command does.
        size: number of records.
        records: one row each.
        commands: (record id, command) for each record.
        recipe_name: its name.
        recipe: its fields, and the data's versions.
        environments: the different ones.
    """

    key: str
    name: str
    command: str | None
    size: int
    records: Table
    commands: tuple[tuple[str, str], ...]
    recipe_name: str
    recipe: Pairs
    environments: tuple[RunEnvironment, ...]


def ledger_table(members: Group) -> Table:
    """Every group of the ledger, exact numbers."""
    rows = [
        [row.label, *("–".join(f"{count:,}" for count in row.parameters(part)) or "-" for part in PART_NAMES)]
        for row in members.rows
    ]
    return _table("Parameter ledger", "Number of parameters in each group.", ["Method", *PART_NAMES.values()], rows)


def failed_cells(groups: Sequence[Group], names: Sequence[str]) -> Table | None:
    """The cells without a score, with their reasons.

    Args:
        groups: all of the page.
        names: of the groups.

    Returns:
        None if there is no such cell.
    """
    rows = [
        [row.label, record.cell.protocol, str(record.cell.seed), name, record.status, record.reason or ""]
        for members, name in zip(groups, names, strict=True)
        for row in members.rows
        for record in row.records
        if record.status != "done"
    ]
    headers = ["Method", "Split", "Seed", "Conditions", "Status", "Reason"]
    return _table("Cells without a score", "Each is tried again by the next run.", headers, rows) if rows else None


def found_problems(records: Iterable[Record]) -> Table | None:
    """The data problems, with the largest number of items over the records; None if there is no problem."""
    worst: dict[tuple[str, str], int] = defaultdict(int)
    for record in records:
        for problem, count in record.data_problems.items():
            worst[record.cell.protocol, problem] = max(count, worst[record.cell.protocol, problem])
    rows = [[problem, protocol, f"{count:,}"] for (protocol, problem), count in sorted(worst.items()) if count]
    headers = ["Problem", "Split", "Items"]
    return _table("What was odd in the data", "How many items each touched.", headers, rows) if rows else None


def run_of(key: str, name: str, members: Group) -> RunListing:
    """How the records of one group were made.

    Args:
        key: of the group on the page.
        name: of the group.
        members: its records.

    Returns:
        Commands, recipe and environments.
    """
    records = members.records
    devices = {record.id: record.profile.device.partition(":")[0] if record.profile else None for record in records}
    shared = set(devices.values()) - {None}
    whole = command([record.cell for record in records], *shared) if len(shared) < 2 else None
    single = ((record.id, command([record.cell], devices[record.id])) for record in records)
    fields = members.conditions.recipe_fields
    return RunListing(
        key,
        name,
        whole,
        len(records),
        _record_table(records),
        tuple((f"{label}", text) for label, text in single if text),
        str(fields.get("name", "")),
        (*((field, json.dumps(value)) for field, value in fields.items() if field != "name"), *_data(records)),
        tuple(_environments(records)),
    )


def _data(records: Iterable[Record]) -> Iterable[tuple[str, str]]:
    versions = {f"data of {record.cell.protocol}": record.cell.data for record in records}
    for name, data in sorted(versions.items()):
        yield name, f"{data.kind}, version {data.fingerprint[:12]}"


def _record_table(records: Sequence[Record]) -> Table:
    rows = [
        [
            record.title,
            record.cell.protocol,
            str(record.cell.seed),
            record.status,
            f"{record.timings['total']:,.0f}" if "total" in record.timings else "-",
            str(record.environment.get("commit", ""))[:10] + "+" * bool(record.environment.get("dirty")),
            record.id,
        ]
        for record in records
    ]
    note = "Seconds of the whole cell. A + behind a commit: the code was changed since."
    headers = ["Method", "Split", "Seed", "Status", "Seconds", "Commit", "Record"]
    return _table("Records", note, headers, rows)


def _environments(records: Iterable[Record]) -> Iterable[RunEnvironment]:
    """Each distinct environment with how many records were made in it."""
    counts: dict[str, int] = defaultdict(int)
    for record in records:
        if record.environment:
            counts[json.dumps(record.environment, sort_keys=True)] += 1
    for text, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        fields = json.loads(text)
        title = f"Environment of {count} record{'s' * (count != 1)}: {fields.get('device', 'unknown device')}"
        yield RunEnvironment(
            title, tuple((name.rpartition(".")[2], str(value)) for name, value in flatten(fields).items())
        )


def _table(title: str, caption: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Plain text as a table; columns of numbers are aligned right and sort as numbers."""
    body = tuple(tuple(Entry(text, _number(text)) for text in row) for row in rows)
    numeric = [
        all(entry.value is not None or entry.text == "-" for entry in column) for column in zip(*body, strict=True)
    ]
    heads = tuple(Header("", name, "right" if right else "left") for name, right in zip(headers, numeric, strict=True))
    return Table(title, caption, heads, (Section("", body),), (), ())


def _number(text: str) -> float | None:
    """The first of a count or a range of counts, `22,671,361–22,745,601`; None for text."""
    counts = text.split("–")
    return float(counts[0].replace(",", "")) if all(re.fullmatch(r"[\d,]+", count) for count in counts) else None
