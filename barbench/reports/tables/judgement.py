"""What the counts of single expressions show about a column of a table: intervals, bold, and the gap that is closed."""

from collections.abc import Mapping
from typing import NamedTuple

from barbench.paper.tables import FULL, HEAD_ONLY, Column
from barbench.reports.tables.grouping import Group, MethodRow, by_column
from barbench.reports.tables.layout import Score
from barbench.results.interval import Interval
from barbench.results.resampled import ResampledScores, Run, Sample, gap_closed, indistinguishable, score_interval


class Judgement(NamedTuple):
    """What is known about the rows of one column, by label.

    Attributes:
        margins: half the width of the score's 95 % interval over images and seeds, in points.
        best: the best row, and all that are not distinguishable from it; empty if fewer than two are ranked.
        gaps: the gap that each row closes; None if the ends do not differ. Empty without both ends.
    """

    margins: Mapping[str, float] = {}
    best: frozenset[str] = frozenset()
    gaps: Mapping[str, Interval | None] = {}


def judge(score: Score, members: Group, evidence: ResampledScores | None) -> Judgement:
    """Judge the rows that have every measured column of `score`.

    Rows with all seeds of the group are ranked; a row with fewer has an interval only. The ends, tuning nothing and
    tuning everything, are not ranked, nor are rows that alone saw a column's images.
    """
    columns = [column for column in score.over if column in members.measured]
    if not columns or evidence is None:
        return Judgement()
    rows = [row for row in members.rows if _seeds(row, columns) == members.seeds]
    fewer = [row for row in members.rows if row not in rows and _seeds(row, columns)]
    samples = _samples(score, columns, rows, evidence) if rows else None
    margins = {}
    for row in fewer:
        if own := _samples(score, columns, [row], evidence):
            margins[row.label] = score_interval(own, 0).margin
    if not samples:
        return Judgement(margins)
    places = {row.label: place for place, row in enumerate(rows)}
    ranked = []
    for row in rows:
        leaks = (row.leaks - members.leaking) & set(columns)
        if not row.is_reference and not leaks:
            ranked.append(places[row.label])
    best = indistinguishable(samples, ranked) if len(ranked) > 1 else set()
    ends = {row.records[0].cell.method: places[row.label] for row in rows if row.is_reference}
    gaps = (
        {
            label: gap_closed(samples, place, ends[HEAD_ONLY], ends[FULL])
            for label, place in places.items()
            if place not in ends.values()
        }
        if {HEAD_ONLY, FULL} <= ends.keys()
        else {}
    )
    return Judgement(
        margins | {label: score_interval(samples, place).margin for label, place in places.items()},
        frozenset(row.label for row in rows if places[row.label] in best),
        gaps,
    )


def _seeds(row: MethodRow, columns: list[Column]) -> set[int]:
    """The seeds with which a row has all of `columns`; empty where they differ between columns."""
    seeds = [set(row.iou.get(column, {})) for column in columns]
    return seeds[0] if all(found == seeds[0] for found in seeds) else set()


def _samples(
    score: Score, columns: list[Column], rows: list[MethodRow], evidence: ResampledScores
) -> list[Sample] | None:
    """One sample per column, weighted as the average weights it; None where some counts are not there."""
    datasets = [column.title for column in columns]
    samples = []
    for column in columns:
        sample = evidence.sample([_runs(row, column) for row in rows])
        if sample is None:
            return None
        even = score.rule == "columns"
        weight = 1 / len(columns) if even else 1 / (len(set(datasets)) * datasets.count(column.title))
        samples.append(sample._replace(weight=weight))
    return samples


def _runs(row: MethodRow, column: Column) -> dict[int, Run]:
    """By seed, the record of a row that was evaluated on `column`, and the name that the split has in it."""
    return {
        record.cell.seed: Run(record, name)
        for record in row.records
        if record.status == "done"
        for (found, _), name in zip(by_column(record).items(), record.splits, strict=True)
        if found == column
    }
