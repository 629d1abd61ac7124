"""What the HTML page lists beside the paper's tables: parameters, failed cells, data problems, how runs were made."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from barbench.reports.page.reproduce import RecipeFile, command, recipe_file
from barbench.reports.tables.grouping import Group
from barbench.reports.tables.table import Entry, Header, Section, Table
from barbench.results.frames import cell_fields, differing_fields
from barbench.results.record import Record
from barbench.spec.text import plural
from barbench.values import flatten

_SHOWN: Final = ("method", "dataset", "seed", "fingerprint")
"""Fields of a cell that are told in every list of records, and the hash of its data, which each dataset has."""

Pairs = tuple[tuple[str, str], ...]


class RunEnvironment(NamedTuple):
    """One environment that records were made in: a title, and its fields."""

    title: str
    pairs: Pairs


class RunListing(NamedTuple):
    """How the records of one set of conditions were made.

    Attributes:
        command: makes all records; None if no single command does.
        commands: (record id, command, its recipe's file or None) for each record.
        recipe_file: the recipe that `command` needs as a file; None where it ships.
        recipe: its fields, and the data's versions.
    """

    key: str
    name: str
    command: str | None
    size: int
    records: Table
    commands: tuple[tuple[str, str, RecipeFile | None], ...]
    recipe_file: RecipeFile | None
    recipe_name: str
    recipe: Pairs
    environments: tuple[RunEnvironment, ...]


def failed_cells(groups: Sequence[Group], names: Sequence[str]) -> Table | None:
    """The cells without a score, with their reasons and the names of their groups; None if there is no such cell."""
    rows = []
    for members, name in zip(groups, names, strict=True):
        for row in members.rows:
            for record in row.records:
                if record.status != "done":
                    cell = record.cell
                    rows.append([row.label, cell.dataset, str(cell.seed), name, record.status, record.reason or ""])
    if not rows:
        return None
    headers = ["Method", "Split", "Seed", "Conditions", "Status", "Reason"]
    return _table("Cells without a score", "Each is tried again by the next run.", headers, rows)


def found_problems(records: Iterable[Record]) -> Table | None:
    """The data problems, with the largest number of items over the records; None if there is no problem."""
    # Every cell of a data set reports the same problems.
    worst: dict[tuple[str, str], int] = defaultdict(int)
    for record in records:
        for problem, count in record.data_problems.items():
            key = (record.cell.dataset, problem)
            worst[key] = max(count, worst[key])
    rows = []
    for (dataset, problem), count in sorted(worst.items()):
        if count:
            rows.append([problem, dataset, f"{count:,}"])
    if not rows:
        return None
    headers = ["Problem", "Split", "Items"]
    return _table("What was odd in the data", "How many items each touched.", headers, rows)


def run_of(key: str, name: str, members: Group) -> RunListing:
    """Commands, recipe and environments of the records of one group, whose key and name on the page are given."""
    records = members.records
    devices = {}
    for record in records:
        if record.profile:
            devices[record.id] = record.profile.device.partition(":")[0]
    # One command makes all of them, if they were made on one device.
    shared = set(devices.values())
    cells = [record.cell for record in records]
    folders = {_folder(record) for record in records}
    whole = None
    if len(shared) < 2 and len(folders) < 2:
        whole = command(cells, next(iter(shared), None), *folders)
    single = []
    for record in records:
        text = command([record.cell], devices.get(record.id), _folder(record))
        if text:
            single.append((record.id, text, recipe_file([record.cell])))
    fields = members.conditions.recipe_fields
    name_of_recipe = str(fields.pop("name", ""))
    recipe = [(field, json.dumps(value)) for field, value in fields.items()]
    return RunListing(
        key=key,
        name=name,
        command=whole,
        size=len(records),
        records=_record_table(records),
        commands=tuple(single),
        recipe_file=recipe_file(cells) if whole else None,
        recipe_name=name_of_recipe,
        recipe=(*recipe, *_data(records)),
        environments=tuple(_environments(records)),
    )


def _folder(record: Record) -> str | None:
    """The name of a folder with generated data of one's own; None for the embedded benchmark's, or where it is not
    known."""
    name = record.environment.get("data")
    return str(name) if name and record.cell.data.kind == "shapes" else None


def _data(records: Iterable[Record]) -> Iterable[tuple[str, str]]:
    versions = {f"data of {record.cell.dataset}": record.cell.data for record in records}
    for name, data in sorted(versions.items()):
        yield name, f"{data.kind}, version {data.fingerprint[:12]}"


def _record_table(records: Sequence[Record]) -> Table:
    """One row per record, with a column for each field in which the cells differ."""
    # What all records share is in the recipe below the table.
    fields = differing_fields(records, _SHOWN)
    rows = []
    for record in records:
        seconds = f"{record.timings['total']:,.0f}" if "total" in record.timings else "-"
        commit = str(record.environment.get("commit", ""))[:10]
        if record.environment.get("dirty"):
            commit += "+"
        cell = record.cell
        own = cell_fields(cell)
        values = []
        for name in fields:
            values.append(_text(own[name]) if name in own else "-")
        rows.append([record.title, cell.dataset, str(cell.seed), *values, record.status, seconds, commit, record.id])
    note = "Seconds of the whole cell. A + behind a commit: the code was changed since."
    headers = ["Method", "Split", "Seed", *fields, "Status", "Seconds", "Commit", "Record"]
    return _table("Records", note, headers, rows)


def _text(value: object) -> str:
    """A field as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _environments(records: Iterable[Record]) -> Iterable[RunEnvironment]:
    """Each distinct environment with how many records were made in it, the most frequent first."""
    # JSON with sorted keys is the same text for the same environment.
    counts = Counter[str]()
    for record in records:
        if record.environment:
            counts[json.dumps(record.environment, sort_keys=True)] += 1
    most_frequent_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for text, count in most_frequent_first:
        fields = json.loads(text)
        device = fields.get("device", "unknown device")
        pairs = []
        for name, value in flatten(fields).items():
            last_part = name.rpartition(".")[2]
            pairs.append((last_part, str(value)))
        yield RunEnvironment(f"Environment of {plural(count, 'record')}: {device}", tuple(pairs))


def _table(title: str, caption: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Plain text as a table; columns of numbers are aligned right and sort as numbers."""
    body = []
    for row in rows:
        body.append(tuple(Entry(text, _number(text)) for text in row))
    aligned = []
    for name, *column in zip(headers, *body, strict=True):
        numeric = all(entry.value is not None or entry.text == "-" for entry in column)
        aligned.append(Header("", name, "right" if numeric else "left"))
    return Table(title, caption, tuple(aligned), (Section("", tuple(body)),))


def _number(text: str) -> float | None:
    """The first of a count or a range of counts, `22,671,361–22,745,601`; None for text."""
    if not re.fullmatch(r"[\d,]+(–[\d,]+)*", text):
        return None
    return float(text.partition("–")[0].replace(",", ""))
