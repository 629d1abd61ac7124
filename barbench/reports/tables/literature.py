"""Numbers of other papers as tables, never ranked: `barbench report --table published`, beside the paper's with
`--table all,published`.

The paper's data have one table per metric, with a section for each kind of training; the averages are computed by each
rule, with the printed one beside. Other data have one table each.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from barbench.paper.literature import Averaging, Metric, PublishedScore, PublishedSystem, published_systems
from barbench.paper.tables import MEMBER_COLUMNS, PAPER_COLUMNS, Column, Rule
from barbench.reports.tables.averages import average, printed
from barbench.reports.tables.grouping import Group
from barbench.reports.tables.table import Entry, EntryRow, Footnotes, Header, Section, Table
from barbench.results.resampled import ResampledScores

NUMBER: Final = "published"
"""What `--table` calls these tables."""


class _Average(NamedTuple):
    rule: Rule
    over: tuple[Column, ...]


AVERAGES: Final[Mapping[Averaging, _Average]] = {
    "flat8": _Average("columns", MEMBER_COLUMNS),
    "sets3": _Average("datasets", MEMBER_COLUMNS),
    "flat9": _Average("columns", PAPER_COLUMNS),
}
_UNSAID: Final = ("all", "unknown")
"""Of `tuned`: what needs no footnote."""

_ABOUT = ("System", "Backbone", "COCO seen", "Image size", "Seen in")
_NOTES = (
    "Not ranked: numbers of another metric or another training do not compare, and those of one section may still "
    "differ in image size and in the rule of the metric.",
    "Seen in: primary is the system's own paper, README or card; quoted is that of another system; notes-only is "
    "public notes and reviews alone, not the authors' text, and must be quoted as such.",
    "COCO seen: the labels of COCO that the pretraining of a tower used; masks cover the images that are evaluated.",
)
_AVERAGE_NOTE = (
    "Averages are computed here from the row: flat8 over the eight columns without G-Ref val(g), sets3 over the means "
    "of RefCOCO, RefCOCO+ and G-Ref without val(g), flat9 over all nine columns. Printed is the source's own, with its "
    "rule if it says one."
)


def build_literature(groups: Sequence[Group], evidence: ResampledScores) -> list[Table]:
    """A table for each metric on the paper's data, then one for each other data set; records have no part in it."""
    by_metric: dict[str, list[PublishedSystem]] = defaultdict(list)
    for system in published_systems(on_papers_data=True):
        by_metric[system.about.metric].append(system)
    by_dataset: dict[str, list[PublishedSystem]] = defaultdict(list)
    for system in published_systems(on_papers_data=False):
        by_dataset[system.about.dataset].append(system)
    tables = [_of_metric(metric, systems) for metric, systems in by_metric.items()]
    tables += [_of_dataset(dataset, systems) for dataset, systems in by_dataset.items()]
    return tables


def computed_average(system: PublishedSystem, rule: Averaging) -> float | None:
    """The average of a row by a rule; None if a column of the rule is not given."""
    wanted = AVERAGES[rule]
    values = []
    for column in wanted.over:
        score = system.value(column)
        if score is None:
            return None
        values.append((column.title, float(score.value)))
    return average(wanted.rule, values)


def misfit(system: PublishedSystem) -> str:
    """What is wrong with the printed average; empty if some rule gives it, or none can be computed."""
    shown = system.average
    if shown is None:
        return ""
    # Compared with as many digits as the source prints.
    digits = len(str(shown.value).partition(".")[2])
    by_rule = {}
    for name in AVERAGES:
        value = computed_average(system, name)
        if value is not None:
            by_rule[name] = printed(value, digits)
    if not by_rule or str(shown.value) in by_rule.values():
        return ""
    found = ", ".join(f"{name} {value}" for name, value in by_rule.items())
    return f"The printed {shown.value} fits no rule: {found}."


def _of_metric(metric: str, systems: Sequence[PublishedSystem]) -> Table:
    """The paper's columns that some row has, and the averages if some row has one."""
    # Only columns that some row fills.
    shown = [column for column in PAPER_COLUMNS if any(system.value(column) for system in systems)]
    averaged = any(system.average or computed_average(system, "flat8") is not None for system in systems)
    headers = _about_headers()
    headers += [Header(column.title, column.name) for column in shown]
    if averaged:
        headers += [Header("Average", name) for name in (*AVERAGES, "printed")]
    # The rows, by what they were trained on.
    footnotes = Footnotes()
    rows: dict[str, list[EntryRow]] = defaultdict(list)
    for system in systems:
        entries = _about(system, footnotes)
        entries += [_number(system.value(column), system, footnotes) for column in shown]
        if averaged:
            entries += _averages(system, footnotes)
        rows[system.about.training].append(tuple(entries))
    notes = [*_NOTES, _AVERAGE_NOTE] if averaged else list(_NOTES)
    title = f"Published numbers of other papers: {metric}"
    return _table(title, headers, rows, notes, footnotes)


def _of_dataset(dataset: str, systems: Sequence[PublishedSystem]) -> Table:
    """A column for every metric and split that some row has."""
    # The splits of a metric are beside each other.
    splits: dict[Metric, dict[str, None]] = defaultdict(dict)
    for system in systems:
        for score in system.scores:
            splits[score.metric][score.split] = None
    columns = [(metric, split) for metric, own in splits.items() for split in own]
    headers = _about_headers()
    headers += [Header(metric, split) for metric, split in columns]
    footnotes = Footnotes()
    rows: dict[str, list[EntryRow]] = defaultdict(list)
    for system in systems:
        entries = _about(system, footnotes)
        given = {(score.metric, score.split): score for score in system.scores}
        entries += [_number(given.get(column), system, footnotes) for column in columns]
        rows[system.about.training].append(tuple(entries))
    # How a paper's own average was read.
    rules = dict.fromkeys(score.averaging for system in systems for score in system.scores)
    notes = list(_NOTES)
    notes += [f"Taken as: {rule}." for rule in rules if rule != "no average printed"]
    return _table(f"Published numbers of other papers: {dataset}", headers, rows, notes, footnotes)


def _table(
    title: str,
    headers: Sequence[Header],
    rows: Mapping[str, Sequence[EntryRow]],
    notes: Sequence[str],
    footnotes: Footnotes,
) -> Table:
    sections = []
    for training, members in rows.items():
        sections.append(Section(f"Training: {training}", tuple(members)))
    return Table(
        title=title,
        caption="As printed by the sources, in percent; nothing here was measured with barbench.",
        headers=tuple(headers),
        sections=tuple(sections),
        notes=tuple(notes),
        footnotes=tuple(footnotes.texts),
        number=NUMBER,
    )


def _about_headers() -> list[Header]:
    return [Header("", name, "left") for name in _ABOUT]


def _about(system: PublishedSystem, footnotes: Footnotes) -> list[Entry]:
    """Who, with what, seen where; the footnotes are the source, what is tuned, and remarks on all of the row."""
    about = system.about
    remarks = [f"Source: {about.source}."]
    if about.tuned not in _UNSAID:
        remarks.append(f"Tuned: {about.tuned}; counted: {about.tuned_counts}.")
    remarks += _common(system)
    # Venue and year, as far as they are known.
    published_at = [word for word in (about.venue, str(about.year or "")) if word not in ("unknown", "")]
    name = about.system
    if published_at:
        name += f" ({' '.join(published_at)})"
    return [
        Entry(name, footnotes=footnotes.add(*remarks)),
        Entry(about.backbone),
        Entry(about.backbone_saw_coco),
        Entry(about.image_size),
        Entry(about.verified),
    ]


def _remarks(score: PublishedScore) -> list[str]:
    return [f"{remark}." for remark in score.note.split("; ") if remark]


def _common(system: PublishedSystem) -> list[str]:
    """The remarks that hold for every number of the row."""
    common = _remarks(system.about)
    for score in system.scores:
        own = _remarks(score)
        common = [remark for remark in common if remark in own]
    return common


def _number(score: PublishedScore | None, system: PublishedSystem, footnotes: Footnotes) -> Entry:
    if score is None:
        return Entry("-")
    common = _common(system)
    own = [remark for remark in _remarks(score) if remark not in common]
    return Entry(str(score.value), float(score.value), footnotes=footnotes.add(*own))


def _averages(system: PublishedSystem, footnotes: Footnotes) -> list[Entry]:
    """The average by each rule, then the printed one with the rule that its source says."""
    entries = []
    for name in AVERAGES:
        value = computed_average(system, name)
        entries.append(Entry("-") if value is None else Entry(printed(value, 2), float(printed(value, 2))))
    shown = system.average
    if shown is None:
        return [*entries, Entry("-")]
    wrong = misfit(system)
    marks = footnotes.add(wrong) if wrong else ()
    text = f"{shown.value} ({shown.rule})" if shown.rule else str(shown.value)
    return [*entries, Entry(text, float(shown.value), footnotes=marks)]
