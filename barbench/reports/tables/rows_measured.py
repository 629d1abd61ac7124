"""The measured rows of a table: mean IoU over seeds with its interval, the swapped control, the overall IoU."""

from collections.abc import Mapping, Sequence
from textwrap import shorten

from barbench.metrics import METRICS
from barbench.reports.tables.accounting import counted
from barbench.reports.tables.averages import over_seeds, printed
from barbench.reports.tables.columns import ScoreColumn, TableColumns
from barbench.reports.tables.grouping import Group, MethodRow, SeedScores, name_columns
from barbench.reports.tables.significance import Significance, rank_rows
from barbench.reports.tables.table import Entry, EntryRow, Footnotes, Section
from barbench.results.interval import Interval, interval_around
from barbench.results.record import Record
from barbench.results.resampled import ResampledScores

LEAK = "Leaks: images of this column also trained this row; not ranked."
OVERALL = "Measured, overall IoU"
FAILURES = {"failed": "failed", "out-of-memory": "OOM"}


def scores(
    columns: TableColumns, members: Group, footnotes: Footnotes, heading: str, evidence: ResampledScores | None
) -> Section:
    """Mean IoU of every row with its interval under a heading; the best row is bold, and all that are not
    distinguishable from it. Without evidence nothing is bold."""
    ranked = [rank_rows(score, members, evidence) for score in columns.scores]
    gaps: Mapping[str, Interval | None] = {}
    if columns.gap:
        place = columns.scores.index(columns.gap)
        gaps = ranked[place].gaps
    rows = [_row(columns, row, members, footnotes, ranked, gaps) for row in members.rows]
    return Section(heading, tuple(rows))


def other_scores(columns: TableColumns, members: Group, footnotes: Footnotes, overall: bool) -> list[Section]:
    """A section for each further score of the same expressions, with the rows that have it; none is bold, because
    intervals are of the mean IoU."""
    of_rows = {"Expressions swapped (lower is better)": [row.control for row in members.rows]}
    # Metrics with a heading of their own: N-acc and T-acc on gRefCOCO.
    for name, metric in METRICS.items():
        if metric.heading:
            of_rows[metric.heading] = [row.scores.get(name, {}) for row in members.rows]
    if overall:
        of_rows[OVERALL] = [row.overall for row in members.rows]

    sections = []
    for heading, of_row in of_rows.items():
        rows = []
        for row, values in zip(members.rows, of_row, strict=True):
            if values:
                entries = [_score(row, values, score, members, footnotes, Significance()) for score in columns.scores]
                rows.append(columns.row(Entry(row.label), entries, metric="overall" if heading == OVERALL else ""))
        sections.append(Section(heading, tuple(rows)))
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
    checks = dict.fromkeys(columns.components, "×")
    checks |= dict.fromkeys(row.composition, "✓")
    parameters = counted(row, columns.counting)
    gap = gap_entry(gaps[row.label]) if row.label in gaps else Entry("")
    return columns.row(Entry(row.label), entries, checks, parameters, "mean", gap)


def gap_entry(gap: Interval | None) -> Entry:
    """For example `63±8 %`."""
    if gap is None:
        return Entry("no gap")
    share = round(100 * gap.mean)
    return Entry(f"{share}±{100 * gap.margin:.0f} %".replace("-", "−"), float(share))


def _score(
    row: MethodRow,
    values: SeedScores,
    score: ScoreColumn,
    members: Group,
    footnotes: Footnotes,
    significance: Significance,
) -> Entry:
    """The average of `score` over the columns that the row has, with its interval. Without counts of expressions, the
    interval is that of the seeds alone."""
    # What failed is said in a footnote, and in place of a score where there is none.
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


def _remarks(row: MethodRow, values: SeedScores, score: ScoreColumn, members: Group) -> list[str]:
    """Why a score does not compare with others of its column."""
    remarks = []
    # Leaks first, then seeds, then columns that are missing.
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
