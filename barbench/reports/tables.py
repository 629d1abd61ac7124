"""Tables 1-5: what the paper printed beside what was measured, as plain data for every format. `barbench report`."""

from collections.abc import Iterable, Sequence

from barbench.reports import measured, publication
from barbench.reports.grouping import Column, Conditions, Group, group, in_order
from barbench.reports.layout import COMPONENTS, TABLES, Frame, Layout
from barbench.reports.model import Footnotes, Section, Table
from barbench.reports.notes import average_note, caption, measured_notes, published_notes, title
from barbench.results.record import Record


def build(number: str, records: Iterable[Record]) -> list[Table]:
    """Table `number` (a name in TABLES): published rows and the records that compare with them in one table, then a
    table for each other set of conditions that may not be mixed.

    A table with more than one protocol has all of the paper's columns. Raises UnknownName.
    """
    layout = TABLES.get(number)
    groups = _groups(layout, records)
    conditions = [members.conditions for members in groups]
    alike = [members for members in groups if layout.comparable(members.conditions)]
    joint = [_table(layout, True, members, conditions, _all(layout, members)) for members in alike]
    others = [
        _table(layout, False, members, conditions, _all(layout, members) if _several(members) else members.attempted)
        for members in groups
        if members not in alike
    ]
    return [*(joint or [_table(layout, True, None, (), layout.columns)]), *others]


def build_measured(number: str, records: Iterable[Record]) -> list[Table]:
    """Only what was measured, and only the columns that some record measured: what a run prints. Raises UnknownName."""
    layout = TABLES.get(number)
    groups = _groups(layout, records)
    conditions = [members.conditions for members in groups]
    return [_table(layout, False, members, conditions, members.attempted) for members in groups]


def _groups(layout: Layout, records: Iterable[Record]) -> list[Group]:
    """What may be compared, of the backbones and protocols that the table has."""
    return group(r for r in records if layout.has(r.cell.backbone) and not layout.omits(r.cell.protocol))


def _all(layout: Layout, members: Group) -> tuple[Column, ...]:
    return in_order({*layout.columns, *members.attempted})


def _several(members: Group) -> bool:
    return len({column.protocol for column in members.attempted}) > 1


def _table(
    layout: Layout, published: bool, members: Group | None, others: Sequence[Conditions], columns: tuple[Column, ...]
) -> Table:
    """A table of published rows, of measured ones, or of both with their differences."""
    frame, footnotes = Frame(layout.scores(columns), _components(layout, members), metric=published), Footnotes()
    headers = frame.headers(members.leaking if members else (), footnotes)
    conditions = members.conditions if members else None
    sections: list[Section] = []
    notes = [*(published_notes(layout) if published else ()), *average_note(layout, frame.scores)]
    if published:
        sections += publication.sections(layout.number, frame, footnotes)
    if members:
        sections.append(measured.scores(frame, members, footnotes, heading="Measured" if published else ""))
        if published:
            sections.append(publication.difference(layout.number, frame, members, footnotes))
        sections.append(measured.swapped(frame, members, footnotes))
        if layout.overall:
            sections.append(measured.overall(frame, members, footnotes))
        notes += measured_notes(layout, members, columns)
    return Table(
        title(layout, published, conditions),
        caption(layout, published, conditions, others),
        headers,
        tuple(section for section in sections if section.rows),
        tuple(notes),
        tuple(footnotes.texts),
    )


def _components(layout: Layout, members: Group | None) -> tuple[str, ...]:
    """In Table 4 the paper's components, then any other that a method of the table has."""
    if layout.shows == "splits":
        return ()
    found = [label for row in members.rows for label in row.composition] if members else []
    return tuple(dict.fromkeys((*COMPONENTS, *found)))
