"""The summary table: every method's scores by metric and split, the gap it closes, and what it costs."""

from dataclasses import replace
from math import isnan
from statistics import fmean

from barbench.metrics import METRICS
from barbench.reports.page.frames import Costs
from barbench.reports.tables.averages import over_seeds, printed
from barbench.reports.tables.columns import ScoreColumn, shared_score
from barbench.reports.tables.grouping import Group, MethodRow, name_columns
from barbench.reports.tables.notes import covers
from barbench.reports.tables.rows_measured import gap_entry, number
from barbench.reports.tables.significance import Significance, rank_rows
from barbench.reports.tables.table import Entry, Header, Mark, Section, Table
from barbench.results.interval import CONFIDENCE, interval_around
from barbench.results.resampled import ResampledScores

AVERAGE = "average"
COSTS = {
    "Tuned (M)": ("parameters", ".3f"),
    "Memory (GiB)": ("memory", ".2f"),
    "Expressions/s": ("inference", ".0f"),
}
"""Column -> column of the frame of costs, and the digits."""


def summary_table(members: Group, found: Costs, significance: Significance, evidence: ResampledScores) -> Table | None:
    """One row per method: each metric on each split and on average over those that all share, components, the gap
    closed, parameters, time and memory; None if no cell is finished."""
    if not found.columns:
        return None
    scores = _scores(members)
    measured: set[str] = set()
    for row in members.rows:
        measured.update(row.scores)
    metrics = [name for name, metric in METRICS.items() if name in measured and not metric.detail]
    # The page has ranked by the first score already.
    ranked = [significance]
    ranked += [rank_rows(score, members, evidence) for score in scores[1:]]
    spent = {row["label"]: row for row in found.frame.to_dict("records")}

    rows = []
    for row in members.rows:
        if not row.iou:
            continue
        entries = [Entry(row.label), Entry(", ".join(row.composition) or "-")]
        for name in metrics:
            for score, significant in zip(scores, ranked, strict=True):
                entries.append(_entry(row, name, score, significant))
        gap = significance.gaps
        entries.append(gap_entry(gap[row.label]) if row.label in gap else Entry(""))
        cost = spent.get(row.label, {})
        for column, digits in COSTS.values():
            entries.append(_cost(cost.get(column, float("nan")), digits))
        entries.append(_minutes(row))
        rows.append(tuple(entries))

    headers = [Header("", "Method", "left"), Header("", "Components", "left")]
    for name in metrics:
        headers += [Header(METRICS[name].label, score.name) for score in scores]
    headers += [Header("", name) for name in ("Gap closed", *COSTS, "Training (min)")]
    seeds = ", ".join(map(str, sorted(members.seeds)))
    return Table(
        title="Every method",
        caption=f"In percent; the average is over {name_columns(found.columns)}; seeds: {seeds}.",
        headers=tuple(headers),
        sections=(Section("", tuple(rows)),),
        notes=(" ".join(_reading(members, significance)),),
    )


def _scores(members: Group) -> list[ScoreColumn]:
    """The average, then the splits; of several data sets with their names."""
    scores = [replace(shared_score(members), name=AVERAGE)]
    several = len({column.dataset for column in members.measured}) > 1
    for column in members.measured:
        name = f"{column.title} {column.name}" if several else column.name
        scores.append(ScoreColumn("", name, (column,)))
    return scores if len(scores) > 2 else scores[1:]


def _entry(row: MethodRow, metric: str, score: ScoreColumn, significance: Significance) -> Entry:
    """One score; `-` where the row lacks a column."""
    values = row.scores.get(metric, {})
    if not set(score.over) <= values.keys():
        return Entry("-")
    summary = over_seeds(score.rule, values, score.over)
    assert summary is not None
    # Intervals and bold are of the metric that ranks.
    if METRICS[metric].role != "mean":
        return Entry(printed(summary.mean), summary.mean)
    margin = significance.margins.get(row.label, summary.margin)
    mark: Mark | None = "best" if row.label in significance.best else None
    return Entry(number(interval_around(summary.mean, margin)), summary.mean, mark=mark)


def _reading(members: Group, significance: Significance) -> list[str]:
    """How the table is read, in sentences: nothing is explained that it does not show."""
    sentences = []
    half = f"±: half of the {CONFIDENCE:.0%} interval,"
    if significance.margins:
        sentences.append(f"{half} {covers(members)}")
    elif len(members.seeds) > 1:
        sentences.append(f"{half} over seeds alone: the counts of single expressions are not there.")
    if significance.best:
        sentences.append("Bold: the best, and all that are not distinguishable from it.")
    if significance.gaps:
        sentences.append("Gap closed: between tuning the head only and tuning everything.")
    return sentences


def _cost(value: float, digits: str) -> Entry:
    if isnan(value):
        return Entry("-")
    return Entry(f"{value:{digits}}", float(value))


def _minutes(row: MethodRow) -> Entry:
    """Minutes of training, the mean over the row's records."""
    times = [record.timings["training"] for record in row.records if "training" in record.timings]
    if not times:
        return Entry("-")
    return _cost(fmean(times) / 60, ".1f")
