"""Tables 4 and 5 from records, as plain data that markdown, LaTeX and the terminal all render. `barbench report`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from textwrap import shorten
from typing import Literal

from barbench.registry import Registry
from barbench.reports.grouping import PAPER_COLUMNS, Column, Conditions, Group, Row, Values, average, group, in_order
from barbench.reports.notes import caption, name_columns, notes
from barbench.results.record import Record

Mark = Literal["best", "second"]
MARKS: tuple[Mark, Mark] = ("best", "second")
COMPONENTS = {"SNF": "SNF", "Bridge": "ETRIS", "LIM": "LIM", "GST": "GST"}
"""Component label -> its column in the paper; other components get a column of their own."""

FAILURES = {"failed": "failed", "out-of-memory": "OOM"}


@dataclass(frozen=True)
class Header:
    """A column: its name under the name of its group (empty where it stands alone)."""

    group: str
    name: str
    align: Literal["left", "center", "right"] = "right"
    footnotes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Entry:
    """What one cell prints. `value` is the printed number where the cell takes part in the ranking of its column."""

    text: str
    value: float | None = None
    mark: Mark | None = None
    footnotes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Section:
    """Rows under a heading that spans the table; an empty heading is not printed."""

    heading: str
    rows: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True)
class Table:
    """A finished table. Entry and Header point to `footnotes` by number, from 1."""

    title: str
    caption: str
    headers: tuple[Header, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    footnotes: tuple[str, ...]

    @property
    def header_groups(self) -> list[tuple[str, int]]:
        """Group names with the number of adjacent columns under each; columns that stand alone come one by one."""
        runs = groupby(enumerate(self.headers), key=lambda item: item[1].group or item[0])
        return [(key if isinstance(key, str) else "", len(list(members))) for key, members in runs]

    def select(self, columns: Sequence[int]) -> "Table":
        """The same table with only the columns at these positions."""
        sections = [
            replace(section, rows=tuple(tuple(row[i] for i in columns) for row in section.rows))
            for section in self.sections
        ]
        return replace(self, headers=tuple(self.headers[i] for i in columns), sections=tuple(sections))


@dataclass(frozen=True)
class Score:
    """A measured column: the average over some of the paper's columns, or just one of them."""

    group: str
    name: str
    over: tuple[Column, ...]


class Footnotes:
    """Texts numbered from 1 in the order of their first use."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def build(number: str, records: Iterable[Record], *, paper_columns: bool = False) -> list[Table]:
    """Table `number` (a name in TABLES) of `records`: one table for each set of conditions that may not be mixed.

    Only columns that some record measured are built; with `paper_columns`, a table with more than one protocol has
    the nine columns of the paper. Raises UnknownName.
    """
    layout = TABLES.get(number)
    groups = group(records)
    conditions = [members.conditions for members in groups]
    return [_table(layout, members, conditions, paper_columns) for members in groups]


@dataclass(frozen=True)
class Layout:
    """What sets one table of the paper apart: its title, whether it shows components, its score columns."""

    title: str
    components: bool
    scores: Callable[[Sequence[Column]], list[Score]]


def _datasets(columns: Sequence[Column]) -> list[Score]:
    names = list(dict.fromkeys(column.dataset for column in columns))
    scores = [
        Score("Average IoU", name, tuple(column for column in columns if column.dataset == name)) for name in names
    ]
    return scores + [Score("Average IoU", "Avg", tuple(columns))] * (len(names) > 1)


def _splits(columns: Sequence[Column]) -> list[Score]:
    scores = [Score(column.dataset, column.name, (column,)) for column in columns]
    return scores + [Score("", "Avg", tuple(columns))] * (len(columns) > 1)


TABLES: Registry[Layout] = Registry("table")
TABLES.register("4", Layout("Component ablation (as Table 4 of the paper)", True, _datasets))
TABLES.register("5", Layout("Scores on every split (as Table 5 of the paper)", False, _splits))


def _table(layout: Layout, members: Group, conditions: Sequence[Conditions], paper_columns: bool) -> Table:
    columns = members.attempted
    if paper_columns and len({column.protocol for column in columns}) > 1:
        columns = in_order({*PAPER_COLUMNS, *columns})
    scores, footnotes = layout.scores(columns), Footnotes()
    labels = _components(members) if layout.components else ()
    headers = (
        Header("", "Method", "left"),
        *(Header("", COMPONENTS.get(label, label), "center") for label in labels),
        Header("", "Params (M)"),
        *(
            Header(score.group, score.name, "right", _leaks([c for c in score.over if c in members.leaking], footnotes))
            for score in scores
        ),
    )
    as_given = [
        (*_lead(row, labels), *(_score(row, row.iou, score, members, footnotes) for score in scores))
        for row in members.rows
    ]
    blank = [Entry("")] * (len(labels) + 1)
    swapped = [
        (Entry(row.label), *blank, *(_score(row, row.control, score, members, footnotes) for score in scores))
        for row in members.rows
        if row.control
    ]
    sections = [
        Section("", _ranked(as_given, first=len(headers) - len(scores))),
        Section("Expressions swapped (lower is better)", tuple(swapped)),
    ]
    return Table(
        layout.title,
        caption(members.conditions, conditions),
        headers,
        tuple(section for section in sections if section.rows),
        notes(members, columns),
        tuple(footnotes.texts),
    )


def _components(members: Group) -> tuple[str, ...]:
    """The paper's components, then any other that a method of the table has."""
    return tuple(dict.fromkeys((*COMPONENTS, *(label for row in members.rows for label in row.composition))))


def _lead(row: Row, labels: Sequence[str]) -> list[Entry]:
    checks = [Entry("✓" if label in row.composition else "×") for label in labels]
    counts = dict.fromkeys(f"{count / 1e6:.2f}" for count in row.parameters("adapter"))
    return [Entry(row.label), *checks, Entry("–".join(counts) or "-")]


def _leaks(columns: Iterable[Column], footnotes: Footnotes) -> tuple[int, ...]:
    text = "{} {} leaks: its images are also among those that trained the model."
    return tuple(footnotes.add(text.format(column.dataset, column.name)) for column in columns)


def _score(row: Row, values: Values, score: Score, members: Group, footnotes: Footnotes) -> Entry:
    """The average of `score` over the columns that the row has; not ranked where others of the table have more."""
    failed = row.failures({column.protocol for column in score.over})
    marks = [footnotes.add(text) for text in _failures(failed)]
    summary = average(values, score.over)
    if summary is None:
        return Entry(FAILURES[failed[0].status] if failed else "-", footnotes=tuple(marks))
    marks += _leaks([c for c in score.over if c in values and c in row.leaks - members.leaking], footnotes)
    seeds = {frozenset(values[column]) for column in score.over if column in values}
    if len(seeds) > 1:
        marks.append(footnotes.add("Its columns have different seeds: no range."))
    elif (own := seeds.pop()) < members.seeds:
        marks.append(footnotes.add(f"n = {len(own)}: seed {', '.join(map(str, sorted(own)))}."))
    missing = [column for column in score.over if column in members.measured and column not in values]
    if missing:
        marks.append(footnotes.add(f"Without {name_columns(missing)}; not ranked."))
    printed = f"{summary.mean:.1f}"
    spread = f"±{summary.half_range:.1f}" if summary.n > 1 else ""
    return Entry(printed + spread, None if missing else float(printed), footnotes=tuple(marks))


def _failures(records: Sequence[Record]) -> list[str]:
    """One text for each protocol and reason, with the seeds that it befell."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for record in records:
        reason = shorten(record.reason or "", 200, placeholder=" …")
        seeds.setdefault((record.cell.protocol, f"{record.status}: {reason}"), []).append(str(record.cell.seed))
    return [f"{protocol}, seed {', '.join(which)}: {what}" for (protocol, what), which in seeds.items()]


def _ranked(rows: Sequence[Sequence[Entry]], first: int) -> tuple[tuple[Entry, ...], ...]:
    """Mark the best and second value of each column from `first` on; equal as printed shares a mark."""
    places: list[dict[float | None, Mark]] = []
    for column in list(zip(*rows, strict=True))[first:]:
        ranked = sorted({entry.value for entry in column if entry.value is not None}, reverse=True)
        places.append(dict(zip(ranked, MARKS, strict=False)) if len(ranked) > 1 else {})
    return tuple(
        (
            *row[:first],
            *(replace(entry, mark=place.get(entry.value)) for entry, place in zip(row[first:], places, strict=True)),
        )
        for row in rows
    )
