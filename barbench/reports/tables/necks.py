"""What the neck is worth: every method with each neck, and the differences with intervals. `barbench report --table
necks`."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from barbench.paper.tables import Column
from barbench.reports.tables.averages import millions
from barbench.reports.tables.columns import ScoreColumn
from barbench.reports.tables.grouping import Conditions, Group, MethodRow, in_order, name_columns
from barbench.reports.tables.notes import capitalized, describe_conditions
from barbench.reports.tables.rows_measured import number
from barbench.reports.tables.significance import samples_of
from barbench.reports.tables.table import Entry, EntryRow, Header, Mark, Section, Table
from barbench.results.interval import CONFIDENCE
from barbench.results.resampled import ResampledScores, differences, score_interval
from barbench.spec.backbone import NECKS

NUMBER: Final = "necks"
"""What `--table` calls these tables."""

BASE: Final = "neck none"
"""What the others are compared with, where it was run."""


def build_necks(groups: Sequence[Group], evidence: ResampledScores) -> list[Table]:
    """A table for each set of conditions that differ in neck and head alone; [] where every method has one head."""
    by_rest: dict[Conditions, list[Group]] = defaultdict(list)
    for members in groups:
        by_rest[members.conditions._replace(neck="", head_form="")].append(members)
    others = [members.conditions for members in groups]
    tables = []
    for heads in by_rest.values():
        heads.sort(key=_place)
        tables += _table(heads, evidence, others)
    return tables


def _place(members: Group) -> tuple[bool, int]:
    """Necks in the order of `NECKS`, then the linear head."""
    conditions = members.conditions
    known = conditions.neck in NECKS
    return conditions.head_form == "linear", NECKS.index(conditions.neck) if known else len(NECKS)


def _table(heads: Sequence[Group], evidence: ResampledScores, others: Sequence[Conditions]) -> list[Table]:
    """Rows are the methods that have several heads, in the order of the first head's table."""
    names = [members.conditions.head for members in heads]
    base = BASE if BASE in names else names[0]
    rows_of: dict[str, dict[str, MethodRow]] = defaultdict(dict)
    for name, members in zip(names, heads, strict=True):
        for row in members.rows:
            rows_of[row.label][name] = row
    compared = [name for name in names if name != base]

    # Each method over the splits that all of its heads were scored on.
    rows: list[EntryRow] = []
    over: set[Column] = set()
    for label, by_head in rows_of.items():
        score = _shared(list(by_head.values()))
        cells = _cells(by_head, base, score, evidence) if len(by_head) > 1 and score.over else {}
        if not cells:
            continue
        over.update(score.over)
        (adapter, *_) = next(iter(by_head.values())).parameters("adapter") or [0]
        scores = [cells.get(name, Entry("-")) for name in names]
        worth = [cells.get(f"{name} - {base}", Entry("-")) for name in compared]
        rows.append((Entry(label), Entry(millions(adapter)), *scores, *worth))
    if not rows:
        return []

    conditions = heads[0].conditions
    words = describe_conditions(conditions, others).replace(f", {conditions.head},", ",", 1)
    notes = (
        f"{conditions.metric} in percent, averaged over {name_columns(in_order(over))}; differences are in points, of "
        f"the same images and seeds. ±: half of the {CONFIDENCE:.0%} interval.",
        "Bold: more than chance, corrected by Holm's rule at 5 % for the differences of a row.",
        "Rows of different necks are never ranked together: a neck is trained as a whole and is many times as large as "
        "what most methods tune.",
    )
    headers = [Header("", "Method", "left"), Header("", "Params (M)")]
    headers += [Header("Score", name) for name in names]
    headers += [Header(f"Minus {base}", name) for name in compared]
    return [
        Table(
            title=f"What the neck is worth, measured with {conditions.backbone}",
            caption=capitalized(words),
            headers=tuple(headers),
            sections=(Section("", tuple(rows)),),
            notes=notes,
            number=NUMBER,
        )
    ]


def _shared(rows: Sequence[MethodRow]) -> ScoreColumn:
    """The average over the columns that all rows have."""
    measured = [set(row.iou) for row in rows]
    return ScoreColumn("", "", in_order(set.intersection(*measured)), "datasets")


def _cells(
    by_head: Mapping[str, MethodRow], base: str, score: ScoreColumn, evidence: ResampledScores
) -> dict[str, Entry]:
    """The score of each head, and its difference from the base under `HEAD - BASE`; empty where seeds differ or counts
    of expressions are missing."""
    # Heads are compared on the same seeds and expressions.
    seeds = {frozenset(row.iou[column]) for row in by_head.values() for column in score.over}
    if len(seeds) > 1:
        return {}
    names = list(by_head)
    samples = samples_of(score, list(score.over), list(by_head.values()), evidence)
    if samples is None:
        return {}
    # Each score, then its difference from the base, corrected for their number.
    cells = {}
    for place, name in enumerate(names):
        interval = score_interval(samples, place)
        cells[name] = Entry(number(interval), interval.mean)
    if base in names:
        second = names.index(base)
        pairs = [(first, second) for first in range(len(names)) if first != second]
        for (first, _), found in differences(samples, pairs).items():
            mark: Mark | None = "differs" if found.significant else None
            cells[f"{names[first]} - {base}"] = Entry(number(found.interval, sign="+"), found.interval.mean, mark)
    return cells
