"""What the counts of single expressions show about a column of a table: intervals, bold, and the gap that is closed."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from barbench.paper.tables import FULL, HEAD_ONLY, Column
from barbench.reports.tables.columns import ScoreColumn
from barbench.reports.tables.grouping import Group, MethodRow, by_column
from barbench.results.interval import Interval
from barbench.results.resampled import (
    Difference,
    ResampledScores,
    Sample,
    ScoredRun,
    differences,
    gap_closed,
    indistinguishable,
    score_interval,
)


class Significance(NamedTuple):
    """What is known about the rows of one column, by label.

    Attributes:
        margins: half the width of the score's 95 % interval over images and seeds, in points.
        best: the best row, and all that are not distinguishable from it; empty if fewer than two are ranked.
        gaps: the gap that each row closes; None if the references do not differ. Empty without both references.
    """

    margins: Mapping[str, float] = {}
    best: frozenset[str] = frozenset()
    gaps: Mapping[str, Interval | None] = {}


def rank_rows(score: ScoreColumn, members: Group, evidence: ResampledScores | None) -> Significance:
    """Rank the rows that have every measured column of `score` with all seeds of the group.

    A row with fewer seeds has an interval only. The references, tuning nothing and tuning everything, are not ranked,
    nor are rows that alone saw a column's images.
    """
    columns = [column for column in score.over if column in members.measured]
    if not columns or evidence is None:
        return Significance()
    margins = {}
    for row in members.rows:
        if _seeds(row, columns) not in (set(), members.seeds):
            # Resampled on its own: a comparison needs the same seeds.
            own = samples_of(score, columns, [row], evidence)
            if own:
                margins[row.label] = score_interval(own, 0).margin
    rows, samples = _compared(score, columns, members, evidence)
    if not samples:
        return Significance(margins)
    for place, row in enumerate(rows):
        margins[row.label] = score_interval(samples, place).margin
    best: frozenset[str] = frozenset()
    ranked = _ranked(rows, columns, members)
    if len(ranked) > 1:
        best = frozenset(rows[place].label for place in indistinguishable(samples, ranked))
    return Significance(margins, best, _gaps(rows, samples))


def compare_pairs(
    score: ScoreColumn, members: Group, evidence: ResampledScores | None
) -> dict[tuple[str, str], Difference]:
    """The difference of each pair of rows, by their labels, the earlier row first.

    The ranked rows are one family of tests, the one that `rank_rows` decides by; the pairs with any other row, such as
    a reference, are a second one. Empty where the counts of expressions do not allow it.
    """
    columns = [column for column in score.over if column in members.measured]
    if not columns or evidence is None:
        return {}
    rows, samples = _compared(score, columns, members, evidence)
    if not samples:
        return {}
    # Two families of tests.
    ranked = set(_ranked(rows, columns, members))
    of_ranked: list[tuple[int, int]] = []
    others: list[tuple[int, int]] = []
    for pair in combinations(range(len(rows)), 2):
        family = of_ranked if ranked.issuperset(pair) else others
        family.append(pair)
    found = {}
    for family in (of_ranked, others):
        for (a, b), difference in differences(samples, family).items():
            found[rows[a].label, rows[b].label] = difference
    return found


def _compared(
    score: ScoreColumn, columns: list[Column], members: Group, evidence: ResampledScores
) -> tuple[list[MethodRow], list[Sample]]:
    """The rows that have every column with all seeds of the group, and their samples; none of either where counts are
    missing."""
    rows = [row for row in members.rows if _seeds(row, columns) == members.seeds]
    samples = samples_of(score, columns, rows, evidence) if rows else None
    if not samples:
        return [], []
    return rows, samples


def _ranked(rows: Sequence[MethodRow], columns: list[Column], members: Group) -> list[int]:
    """The positions of the rows that are ranked: neither a reference, nor alone in having seen a column's images."""
    ranked = []
    for place, row in enumerate(rows):
        leaks = (row.leaks - members.leaking) & set(columns)
        if not row.is_reference and not leaks:
            ranked.append(place)
    return ranked


def _gaps(rows: Sequence[MethodRow], samples: list[Sample]) -> dict[str, Interval | None]:
    """The gap between the two references that each other row closes, by label."""
    places = [place for place, row in enumerate(rows) if row.is_reference]
    references = {rows[place].cell.method: place for place in places}
    if len(places) != 2 or not {HEAD_ONLY, FULL} <= references.keys():
        return {}
    gaps = {}
    for place, row in enumerate(rows):
        if not row.is_reference:
            gaps[row.label] = gap_closed(samples, place, references[HEAD_ONLY], references[FULL])
    return gaps


def _seeds(row: MethodRow, columns: list[Column]) -> set[int]:
    """The seeds with which a row has all of `columns`; empty where they differ between columns."""
    first, *others = [set(row.iou.get(column, {})) for column in columns]
    if any(seeds != first for seeds in others):
        return set()
    return first


def samples_of(
    score: ScoreColumn, columns: list[Column], rows: list[MethodRow], evidence: ResampledScores
) -> list[Sample] | None:
    """The rows on each column, weighted as the average weights it; None where some counts are not there."""
    # Over datasets, each counts alike however many columns it has.
    datasets = [column.title for column in columns]
    samples = []
    for column in columns:
        sample = evidence.sample([runs_of(row, column) for row in rows])
        if sample is None:
            return None
        weight = 1 / len(columns)
        if score.rule == "datasets":
            weight = 1 / (len(set(datasets)) * datasets.count(column.title))
        samples.append(sample._replace(weight=weight))
    return samples


def runs_of(row: MethodRow, column: Column) -> dict[int, ScoredRun]:
    """By seed, the record of a row that was evaluated on `column`, and the name that the split has in it."""
    runs: dict[int, ScoredRun] = {}
    for record in row.records:
        if record.status != "done":
            continue
        for found, name in zip(by_column(record), record.splits, strict=True):
            if found == column:
                runs.setdefault(record.cell.seed, ScoredRun(record, name))
    return runs
