"""The measured rows of a table: mean IoU over seeds with its interval, the swapped control, the overall IoU."""

from collections.abc import Mapping, Sequence
from textwrap import shorten

from barbench.metrics import METRICS
from barbench.reports.tables.accounting import counted
from barbench.reports.tables.averages import over_seeds, printed
from barbench.reports.tables.columns import Score, TableColumns
from barbench.reports.tables.grouping import Group, MethodRow, SeedScores, name_columns
from barbench.reports.tables.significance import Significance, rank_rows
from barbench.reports.tables.table import Entry, EntryRow, Footnotes, Section
from barbench.results.interval import Interval, interval_around
from barbench.results.record import Record
from barbench.results.resampled import ResampledScores

LEAK = "Leaks: images of this column also trained this row; not ranked."
FAILURES = {"failed": "failed", "out-of-memory": "OOM"}


def scores(
    columns: TableColumns, members: Group, footnotes: Footnotes, heading: str, evidence: ResampledScores | None
) -> Section:
    """Mean IoU of every row with its interval under a heading; the best row is bold, and all that are not
    distinguishable from it. Without evidence nothing is bold."""
    ranked = [rank_rows(score, members, evidence) for score in columns.scores]
    gaps: Mapping[str, Interval | None] = {}
    if columns.gap:
        gaps = ranked[columns.scores.index(columns.gap)].gaps
    rows = [_row(columns, row, members, footnotes, ranked, gaps) for row in members.rows]
    return Section(heading, tuple(rows))


def overall(columns: TableColumns, members: Group, footnotes: Footnotes) -> Section:
    """Overall IoU of every row; none is bold, because intervals are of the mean IoU."""
    rows = []
    for row in members.rows:
        if row.overall:
            entries = _scores(columns, row, row.overall, members, footnotes)
            rows.append(columns.row(Entry(row.label), entries, metric="overall"))
    return Section("Measured, overall IoU", tuple(rows))


def swapped(columns: TableColumns, members: Group, footnotes: Footnotes) -> Section:
    """Mean IoU on another object of the same image, if there is one."""
    rows = []
    for row in members.rows:
        if row.control:
            entries = _scores(columns, row, row.control, members, footnotes)
            rows.append(columns.row(Entry(row.label), entries))
    return Section("Expressions swapped (lower is better)", tuple(rows))


def other_metrics(columns: TableColumns, members: Group, footnotes: Footnotes) -> list[Section]:
    """A section for each metric that has a heading of its own: N-acc and T-acc on gRefCOCO."""
    sections = []
    for name, metric in METRICS.items():
        if not metric.heading:
            continue
        rows = []
        for row in members.rows:
            if name in row.scores:
                entries = _scores(columns, row, row.scores[name], members, footnotes)
                rows.append(columns.row(Entry(row.label), entries))
        sections.append(Section(metric.heading, tuple(rows)))
    return sections


def number(summary: Interval, sign: str = "") -> str:
    """For example `51.3±0.4`, without margin if there is none; `sign` "+" shows that of a positive number, too."""
    value = printed(summary.mean)
    text = value.replace("-", "−")
    if sign and not value.startswith("-"):
        text = f"+{value}"
    if not summary.known:
        return text
    return f"{text}±{printed(summary.margin)}"


def _row(
    columns: TableColumns,
    row: MethodRow,
    members: Group,
    footnotes: Footnotes,
    ranked: Sequence[Significance],
    gaps: Mapping[str, Interval | None],
) -> EntryRow:
    entries = []
    for score, significance in zip(columns.scores, ranked, strict=True):
        entries.append(_score(row, row.iou, score, members, footnotes, significance))
    checks = {}
    for name in columns.components:
        checks[name] = "✓" if name in row.composition else "×"
    parameters = counted(row, columns.counting)
    gap = gap_entry(gaps[row.label]) if row.label in gaps else Entry("")
    return columns.row(Entry(row.label), entries, checks, parameters, "mean", gap)


def gap_entry(gap: Interval | None) -> Entry:
    """For example `63±8 %`."""
    if gap is None:
        return Entry("no gap")
    share = round(100 * gap.mean)
    return Entry(f"{share}±{100 * gap.margin:.0f} %".replace("-", "−"), float(share))


def _scores(
    columns: TableColumns, row: MethodRow, values: SeedScores, members: Group, footnotes: Footnotes
) -> list[Entry]:
    return [_score(row, values, score, members, footnotes, Significance()) for score in columns.scores]


def _score(
    row: MethodRow,
    values: SeedScores,
    score: Score,
    members: Group,
    footnotes: Footnotes,
    significance: Significance,
) -> Entry:
    """The average of `score` over the columns that the row has, with its interval. Without counts of expressions, the
    interval is that of the seeds alone."""
    failed = row.failures({column.dataset for column in score.over})
    marks = _failures(failed)
    summary = over_seeds(score.rule, values, score.over)
    if summary is None:
        text = FAILURES[failed[0].status] if failed else "-"
        return Entry(text, footnotes=footnotes.add(*marks))
    marks += _remarks(row, values, score, members)
    interval = interval_around(summary.mean, significance.margins.get(row.label, summary.margin))
    return Entry(
        number(interval),
        float(printed(summary.mean)),
        mark="best" if row.label in significance.best else None,
        footnotes=footnotes.add(*marks),
    )


def _remarks(row: MethodRow, values: SeedScores, score: Score, members: Group) -> list[str]:
    """Why a score does not compare with others of its column."""
    remarks = []
    own = [column for column in score.over if column in values]
    missing = [column for column in score.over if column not in values and column in members.measured]
    if not set(own).isdisjoint(row.leaks - members.leaking):
        remarks.append(LEAK)
    seeds = {frozenset(values[column]) for column in own}
    if len(seeds) > 1:
        remarks.append("Its columns have different seeds: no interval.")
    else:
        (one,) = seeds
        if one < members.seeds:
            remarks.append(f"n = {len(one)}: seed {', '.join(map(str, sorted(one)))}.")
    if missing:
        remarks.append(f"Without {name_columns(missing)}; not ranked.")
    return remarks


def _failures(records: Sequence[Record]) -> list[str]:
    """One text for each dataset and reason, with the seeds concerned."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for record in records:
        reason = shorten(record.reason or "", 200, placeholder=" …")
        key = (record.cell.dataset, f"{record.status}: {reason}")
        seeds.setdefault(key, []).append(str(record.cell.seed))
    texts = []
    for (dataset, what), which in seeds.items():
        texts.append(f"{dataset}, seed {', '.join(which)}: {what}")
    return texts
