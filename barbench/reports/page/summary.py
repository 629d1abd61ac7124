"""The summary table: every method's score with its interval, the gap it closes, and what it costs."""

from math import isnan
from statistics import fmean

from barbench.reports.page.frames import Costs
from barbench.reports.tables.averages import over_seeds
from barbench.reports.tables.grouping import Group, MethodRow, name_columns
from barbench.reports.tables.notes import covers
from barbench.reports.tables.rows_measured import gap_entry, number
from barbench.reports.tables.significance import Significance
from barbench.reports.tables.table import Entry, Header, Mark, Section, Table
from barbench.results.interval import CONFIDENCE, interval_around


def summary_table(members: Group, found: Costs, significance: Significance) -> Table | None:
    """One row per method: mean IoU over the columns that all share, the gap closed, parameters, time and memory; None
    if no cell is finished."""
    if not found.columns:
        return None
    spent = found.frame.set_index("label")
    rows = []
    for row in members.rows:
        summary = over_seeds("datasets", row.iou, found.columns)
        if summary is None or row.label not in spent.index:
            continue
        margin = significance.margins.get(row.label, summary.margin)
        mark: Mark | None = "best" if row.label in significance.best else None
        gap = gap_entry(significance.gaps[row.label]) if row.label in significance.gaps else Entry("")
        cost = dict(zip(spent.columns, spent.loc[row.label].to_numpy(float), strict=True))
        rows.append(
            (
                Entry(row.label),
                Entry(number(interval_around(summary.mean, margin)), summary.mean, mark=mark),
                gap,
                _cost(cost["parameters"], ".3f"),
                _minutes(row),
                _cost(cost["memory"], ".2f"),
                _cost(cost["inference"], ".0f"),
            )
        )
    names = ("mIoU", "Gap closed", "Tuned (M)", "Training (min)", "Memory (GiB)", "Expressions/s")
    seeds = ", ".join(map(str, sorted(members.seeds)))
    return Table(
        title="Every method",
        caption=f"Mean IoU in percent over {name_columns(found.columns)}; seeds: {seeds}.",
        headers=(Header("", "Method", "left"), *(Header("", name) for name in names)),
        sections=(Section("", tuple(rows)),),
        notes=(" ".join(_reading(members, significance)),),
    )


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
