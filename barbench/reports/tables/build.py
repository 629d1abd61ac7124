"""Tables 1-5: what the paper printed beside what was measured, as plain data for every format. `barbench report`."""

from collections.abc import Sequence

from barbench.paper.tables import COMPONENTS, TABLES, Column, PaperTable
from barbench.reports.tables import rows_measured as measured
from barbench.reports.tables import rows_published as publication
from barbench.reports.tables.grouping import Conditions, Group, in_order
from barbench.reports.tables.layout import Frame, comparable, scores_of
from barbench.reports.tables.notes import average_note, caption, measured_notes, published_notes, title
from barbench.reports.tables.table import Footnotes, Section, Table


def build(number: str, every: Sequence[Group]) -> list[Table]:
    """Published rows and the records that compare with them in one table, then one table for each other set of
    conditions, which may not be mixed. A table with more than one dataset has all of the paper's columns.

    Raises UnknownName for a number that the paper has not.

    Args:
        number: of the paper's table, a name in TABLES.
        every: the groups of all records; those that the table does not show are left out here.

    Returns:
        One table per set of conditions.
    """
    table = TABLES.get(number)
    groups = _shown(table, every)
    conditions = [members.conditions for members in groups]
    alike = [members for members in groups if comparable(table, members.conditions)]
    joint = [_table(table, True, members, conditions, _all(table, members)) for members in alike]
    others = [
        _table(table, False, members, conditions, _all(table, members) if _several(members) else members.attempted)
        for members in groups
        if members not in alike
    ]
    return [*(joint or [_table(table, True, None, (), table.columns)]), *others]


def build_measured(number: str, every: Sequence[Group]) -> list[Table]:
    """Only what was measured, and only the columns that some record measured: what a run prints. Raises UnknownName.

    Args:
        number: of the paper's table, a name in TABLES.
        every: the groups of all records.

    Returns:
        One table per set of conditions.
    """
    table = TABLES.get(number)
    groups = _shown(table, every)
    conditions = [members.conditions for members in groups]
    return [_table(table, False, members, conditions, members.attempted) for members in groups]


def _shown(table: PaperTable, groups: Sequence[Group]) -> list[Group]:
    """The groups of the backbones that the table has, without the datasets that it omits."""
    own = [members for members in groups if table.has(members.conditions.backbone)]
    return [left for members in own if (left := members.without(table.omits)).rows]


def _all(table: PaperTable, members: Group) -> tuple[Column, ...]:
    return in_order({*table.columns, *members.attempted})


def _several(members: Group) -> bool:
    return len({column.protocol for column in members.attempted}) > 1


def _table(
    table: PaperTable, published: bool, members: Group | None, others: Sequence[Conditions], columns: tuple[Column, ...]
) -> Table:
    """A table of published rows, of measured ones, or of both with their differences."""
    frame, footnotes = Frame(scores_of(table, columns), _components(table, members), metric=published), Footnotes()
    headers = frame.headers(members.leaking if members else (), footnotes)
    conditions = members.conditions if members else None
    sections: list[Section] = []
    notes = [*(published_notes(table) if published else ()), *average_note(table, frame.scores)]
    if published:
        sections += publication.sections(table.number, frame, footnotes)
    if members:
        sections.append(measured.scores(frame, members, footnotes, heading="Measured" if published else ""))
        if published:
            sections.append(publication.difference(table.number, frame, members, footnotes))
        sections.append(measured.swapped(frame, members, footnotes))
        if table.overall:
            sections.append(measured.overall(frame, members, footnotes))
        notes += measured_notes(table, members, columns)
    return Table(
        title(table, published, conditions),
        caption(table, published, conditions, others),
        headers,
        tuple(section for section in sections if section.rows),
        tuple(notes),
        tuple(footnotes.texts),
    )


def _components(table: PaperTable, members: Group | None) -> tuple[str, ...]:
    """In Table 4 the paper's components, then any other that a method of the table has."""
    if table.shows == "splits":
        return ()
    found = [label for row in members.rows for label in row.composition] if members else []
    return tuple(dict.fromkeys((*COMPONENTS, *found)))
