"""The measured rows of a table: mean IoU over seeds with its interval, the swapped control, the overall IoU."""

from collections.abc import Mapping, Sequence
from textwrap import shorten

from barbench.metrics import METRICS
from barbench.reports.tables.averages import millions, over_seeds, printed
from barbench.reports.tables.grouping import Group, MethodRow, SeedScores, name_columns
from barbench.reports.tables.judgement import Judgement, judge
from barbench.reports.tables.layout import Frame, Score
from barbench.reports.tables.table import Entry, EntryRow, Footnotes, Section
from barbench.results.interval import Interval, interval_around
from barbench.results.record import Record
from barbench.results.resampled import ResampledScores

LEAK = "Leaks: images of this column also trained this row; not ranked."
FAILURES = {"failed": "failed", "out-of-memory": "OOM"}


def scores(
    frame: Frame, members: Group, footnotes: Footnotes, heading: str, evidence: ResampledScores | None
) -> Section:
    """Mean IoU of every row with its interval; the best row is bold, and all that are not distinguishable from it.

    Args:
        frame: the table's columns.
        members: the rows.
        footnotes: gets the texts.
        heading: over the rows.
        evidence: the counts of expressions; without it nothing is bold.

    Returns:
        One section.
    """
    judged = [judge(score, members, evidence) for score in frame.scores]
    gaps = judged[frame.scores.index(frame.gap)].gaps if frame.gap else {}
    return Section(heading, tuple(_row(frame, row, members, footnotes, judged, gaps) for row in members.rows))


def overall(frame: Frame, members: Group, footnotes: Footnotes) -> Section:
    """Overall IoU of every row; none is bold, because intervals are of the mean IoU."""
    rows = [
        frame.row(Entry(row.label), _scores(frame, row, row.overall, members, footnotes), metric="overall")
        for row in members.rows
        if row.overall
    ]
    return Section("Measured, overall IoU", tuple(rows))


def swapped(frame: Frame, members: Group, footnotes: Footnotes) -> Section:
    """Mean IoU on another object of the same image, if there is one."""
    rows = [
        frame.row(
            Entry(row.label),
            _scores(frame, row, row.control, members, footnotes),
        )
        for row in members.rows
        if row.control
    ]
    return Section("Expressions swapped (lower is better)", tuple(rows))


def other_metrics(frame: Frame, members: Group, footnotes: Footnotes) -> list[Section]:
    """A section for each metric that has a heading of its own: N-acc and T-acc on gRefCOCO."""
    sections = []
    for name, metric in METRICS.items():
        if not metric.heading:
            continue
        rows = []
        for row in members.rows:
            if name in row.scores:
                entries = _scores(frame, row, row.scores[name], members, footnotes)
                rows.append(frame.row(Entry(row.label), entries))
        sections.append(Section(metric.heading, tuple(rows)))
    return sections


def number(summary: Interval, sign: str = "") -> str:
    """For example `51.3±0.4`.

    Args:
        summary: what to print.
        sign: "+" shows the sign.

    Returns:
        The text, without margin if there is none.
    """
    value = printed(summary.mean)
    text = f"+{value}" if sign and not value.startswith("-") else value.replace("-", "−")
    return text if not summary.known else f"{text}±{printed(summary.margin)}"


def _row(
    frame: Frame,
    row: MethodRow,
    members: Group,
    footnotes: Footnotes,
    judged: Sequence[Judgement],
    gaps: Mapping[str, Interval | None],
) -> EntryRow:
    counts = dict.fromkeys(millions(count) for count in row.parameters("adapter"))
    return frame.row(
        Entry(row.label),
        [
            _score(row, row.iou, score, members, footnotes, judgement)
            for score, judgement in zip(frame.scores, judged, strict=True)
        ],
        checks={name: "✓" if name in row.composition else "×" for name in frame.components},
        parameters=Entry("–".join(counts) or "-", float(next(iter(counts))) if counts else None),
        metric="mean",
        gap=gap_entry(gaps[row.label]) if row.label in gaps else Entry(""),
    )


def gap_entry(gap: Interval | None) -> Entry:
    """For example `63±8 %`."""
    if gap is None:
        return Entry("no gap")
    share = round(100 * gap.mean)
    return Entry(f"{share}±{100 * gap.margin:.0f} %".replace("-", "−"), float(share))


def _scores(frame: Frame, row: MethodRow, values: SeedScores, members: Group, footnotes: Footnotes) -> list[Entry]:
    return [_score(row, values, score, members, footnotes) for score in frame.scores]


def _score(
    row: MethodRow,
    values: SeedScores,
    score: Score,
    members: Group,
    footnotes: Footnotes,
    judgement: Judgement = Judgement(),
) -> Entry:
    """The average of `score` over the columns that the row has, with its interval. Without counts of expressions, the
    interval is that of the seeds alone."""
    failed = row.failures({column.dataset for column in score.over})
    marks = list(_failures(failed))
    summary = over_seeds(score.rule, values, score.over)
    if summary is None:
        return Entry(FAILURES[failed[0].status] if failed else "-", footnotes=footnotes.add(*marks))
    leaks = [column for column in score.over if column in values and column in row.leaks - members.leaking]
    marks += [LEAK] * bool(leaks)
    seeds = {frozenset(values[column]) for column in score.over if column in values}
    if len(seeds) > 1:
        marks.append("Its columns have different seeds: no interval.")
    elif (own := seeds.pop()) < members.seeds:
        marks.append(f"n = {len(own)}: seed {', '.join(map(str, sorted(own)))}.")
    missing = [column for column in score.over if column in members.measured and column not in values]
    if missing:
        marks.append(f"Without {name_columns(missing)}; not ranked.")
    interval = interval_around(summary.mean, judgement.margins.get(row.label, summary.margin))
    return Entry(
        number(interval),
        float(printed(summary.mean)),
        mark="best" if row.label in judgement.best else None,
        footnotes=footnotes.add(*marks),
    )


def _failures(records: Sequence[Record]) -> list[str]:
    """One text for each dataset and reason, with the seeds concerned."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for record in records:
        reason = shorten(record.reason or "", 200, placeholder=" …")
        seeds.setdefault((record.cell.dataset, f"{record.status}: {reason}"), []).append(str(record.cell.seed))
    return [f"{dataset}, seed {', '.join(which)}: {what}" for (dataset, what), which in seeds.items()]
