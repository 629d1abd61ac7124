"""Builds Tables 1-5: what the paper printed beside what was measured, as plain data for every format. `barbench
report`."""

from collections.abc import Sequence

from barbench.paper.tables import COMPONENTS, FULL, HEAD_ONLY, TABLES, Column, PaperTable
from barbench.reports.tables import rows_measured as measured
from barbench.reports.tables import rows_published as publication
from barbench.reports.tables.grouping import Conditions, Group, in_order
from barbench.reports.tables.layout import Frame, Score, comparable, scores_of
from barbench.reports.tables.notes import average_note, caption, gap_note, measured_notes, published_notes, title
from barbench.reports.tables.table import Footnotes, Section, Table
from barbench.results.resampled import ResampledScores


def build(number: str, every: Sequence[Group], evidence: ResampledScores | None = None) -> list[Table]:
    """Published rows and the records that compare with them in one table, then one table for each other set of
    conditions, which must not be mixed. A table with more than one dataset has all of the paper's columns.

    Args:
        number: of the paper's table, a name in TABLES.
        every: the groups of all records; those that the table does not show are left out here.
        evidence: the counts of expressions beside the records; without it nothing is bold.

    Returns:
        One table per set of conditions.

    Raises:
        UnknownName: for a table that the paper does not have.
    """
    table = TABLES.get(number)
    groups = _shown(table, every)
    conditions = [members.conditions for members in groups]
    alike = [members for members in groups if comparable(table, members.conditions)]
    joint = [_table(table, True, members, conditions, _all(table, members), evidence) for members in alike]
    others = [
        _table(
            table,
            False,
            members,
            conditions,
            _all(table, members) if _several(members) else members.attempted,
            evidence,
        )
        for members in groups
        if members not in alike
    ]
    return [*(joint or [_table(table, True, None, (), table.columns, None)]), *others]


def build_measured(number: str, every: Sequence[Group], evidence: ResampledScores | None = None) -> list[Table]:
    """Only what was measured, and only the columns that some record measured: what a run prints.

    Args:
        number: of the paper's table, a name in TABLES.
        every: the groups of all records.
        evidence: as for `build`.

    Returns:
        One table per set of conditions.

    Raises:
        UnknownName: for a table that the paper does not have.
    """
    table = TABLES.get(number)
    groups = _shown(table, every)
    conditions = [members.conditions for members in groups]
    return [_table(table, False, members, conditions, members.attempted, evidence) for members in groups]


def _shown(table: PaperTable, groups: Sequence[Group]) -> list[Group]:
    """The groups of the backbones that the table has, without the datasets that it omits."""
    own = [members for members in groups if table.has(members.conditions.backbone)]
    return [left for members in own if (left := members.without(table.omits)).rows]


def _all(table: PaperTable, members: Group) -> tuple[Column, ...]:
    return in_order({*table.columns, *members.attempted})


def _several(members: Group) -> bool:
    return len({column.dataset for column in members.attempted}) > 1


def _table(
    table: PaperTable,
    published: bool,
    members: Group | None,
    others: Sequence[Conditions],
    columns: tuple[Column, ...],
    evidence: ResampledScores | None,
) -> Table:
    """A table of published rows, of measured ones, or of both with their differences."""
    scores, footnotes = scores_of(table, columns), Footnotes()
    frame = Frame(scores, _components(table, members), published, gap=_gap_of(table, members, scores))
    headers = frame.headers(members.leaking if members else (), footnotes)
    conditions = members.conditions if members else None
    sections: list[Section] = []
    notes = [*(published_notes(table) if published else ()), *average_note(table, frame.scores)]
    if published:
        sections += publication.sections(table.number, frame, footnotes)
    if members:
        sections.append(measured.scores(frame, members, footnotes, "Measured" if published else "", evidence))
        if published:
            sections.append(publication.difference(table.number, frame, members, footnotes))
        sections.append(measured.swapped(frame, members, footnotes))
        sections += measured.other_metrics(frame, members, footnotes)
        if table.overall:
            sections.append(measured.overall(frame, members, footnotes))
        notes += [*measured_notes(table, members, columns), *gap_note(frame.gap)]
    return Table(
        title(table, published, conditions),
        caption(table, published, conditions, others, one_seed=members is not None and len(members.seeds) == 1),
        headers,
        tuple(section for section in sections if section.rows),
        tuple(notes),
        tuple(footnotes.texts),
        table.number,
        measured="" if published else repr(conditions),
    )


def _components(table: PaperTable, members: Group | None) -> tuple[str, ...]:
    """For Table 4 the paper's components, then all others that a method of the table has."""
    if table.shows == "splits":
        return ()
    found = [label for row in members.rows for label in row.composition] if members else []
    return tuple(dict.fromkeys((*COMPONENTS, *found)))


def _gap_of(table: PaperTable, members: Group | None, scores: Sequence[Score]) -> Score | None:
    """The score whose gap is shown: the table's own average, or its only column; none without both ends."""
    ends = {row.records[0].cell.method for row in members.rows if row.is_reference} if members else set()
    if not {HEAD_ONLY, FULL} <= ends:
        return None
    averages = [score for score in scores if len(score.over) > 1 and score.rule == table.rule]
    return averages[-1] if averages else scores[-1]
