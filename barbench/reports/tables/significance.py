"""What the counts of single expressions show about a column of a table: intervals, bold, and the gap that is closed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from barbench.paper.tables import FULL, HEAD_ONLY, Column
from barbench.reports.tables.columns import Score
from barbench.reports.tables.grouping import Group, MethodRow, by_column
from barbench.results.interval import Interval
from barbench.results.resampled import ResampledScores, Sample, ScoredRun, gap_closed, indistinguishable, score_interval


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


def rank_rows(score: Score, members: Group, evidence: ResampledScores | None) -> Significance:
    """Rank the rows that have every measured column of `score` with all seeds of the group.

    A row with fewer seeds has an interval only. The references, tuning nothing and tuning everything, are not ranked,
    nor are rows that alone saw a column's images.
    """
    columns = [column for column in score.over if column in members.measured]
    if not columns or evidence is None:
        return Significance()
    rows = []
    margins = {}
    for row in members.rows:
        seeds = _seeds(row, columns)
        if seeds == members.seeds:
            rows.append(row)
        elif seeds:
            # Resampled on its own: a comparison needs the same seeds.
            own = _samples(score, columns, [row], evidence)
            if own:
                margins[row.label] = score_interval(own, 0).margin
    samples = _samples(score, columns, rows, evidence) if rows else None
    if not samples:
        return Significance(margins)
    for place, row in enumerate(rows):
        margins[row.label] = score_interval(samples, place).margin
    return Significance(margins, _best(rows, samples, columns, members), _gaps(rows, samples))


def _best(rows: Sequence[MethodRow], samples: list[Sample], columns: list[Column], members: Group) -> frozenset[str]:
    """The labels of the best row and of all that are not distinguishable from it."""
    ranked = []
    for place, row in enumerate(rows):
        leaks = (row.leaks - members.leaking) & set(columns)
        if not row.is_reference and not leaks:
            ranked.append(place)
    if len(ranked) < 2:
        return frozenset()
    return frozenset(rows[place].label for place in indistinguishable(samples, ranked))


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


def _samples(
    score: Score, columns: list[Column], rows: list[MethodRow], evidence: ResampledScores
) -> list[Sample] | None:
    """One sample per column, weighted as the average weights it; None where some counts are not there."""
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
