"""Builds Tables 1-5: what the paper printed beside what was measured, as plain data for every format. `barbench
report`."""

from collections.abc import Sequence

from barbench.paper.tables import COMPONENTS, FULL, HEAD_ONLY, TABLES, Column, PaperTable
from barbench.reports.tables import rows_measured as measured
from barbench.reports.tables import rows_published as publication
from barbench.reports.tables.columns import ScoreColumn, TableColumns, comparable, scores_of
from barbench.reports.tables.grouping import Conditions, Group, in_order
from barbench.reports.tables.notes import average_note, caption, gap_note, measured_notes, published_notes, title
from barbench.reports.tables.table import Footnotes, Section, Table
from barbench.results.resampled import ResampledScores
from barbench.spec.accounting import DEFAULT, CountRule


def build(
    number: str, every: Sequence[Group], evidence: ResampledScores | None = None, rule: CountRule = DEFAULT
) -> list[Table]:
    """Published rows and the records that compare with them in one table, then one table for each other set of
    conditions, which must not be mixed. A table with more than one dataset has all of the paper's columns.

    Args:
        every: the groups of all records; those that the table does not show are left out here.
        evidence: the counts of expressions beside the records; without it nothing is bold.

    Raises:
        UnknownName: for a table that the paper does not have.
    """
    table = TABLES.get(number)
    groups = _shown(table, every)
    conditions = [members.conditions for members in groups]
    # Records that compare with the paper's rows join them; each other set of conditions has a table of its own.
    joint = []
    others = []
    for members in groups:
        if comparable(table, members.conditions):
            joint.append(_table(table, True, members, conditions, _all(table, members), evidence, rule))
        elif len({column.dataset for column in members.attempted}) > 1:
            others.append(_table(table, False, members, conditions, _all(table, members), evidence, rule))
        else:
            others.append(_table(table, False, members, conditions, members.attempted, evidence, rule))
    if not joint:
        joint.append(_table(table, True, None, (), table.columns, None, rule))
    return joint + others


def build_measured(number: str, every: Sequence[Group], evidence: ResampledScores | None = None) -> list[Table]:
    """Only what was measured, and only the columns that some record measured: what a run prints; arguments as for
    `build`."""
    table = TABLES.get(number)
    groups = _shown(table, every)
    conditions = [members.conditions for members in groups]
    return [_table(table, False, members, conditions, members.attempted, evidence) for members in groups]


def _shown(table: PaperTable, groups: Sequence[Group]) -> list[Group]:
    """The groups of the backbones that the table has, without the datasets that it omits."""
    shown = []
    for members in groups:
        if table.has(members.conditions.backbone):
            rest = members.without(table.omits)
            if rest.rows:
                shown.append(rest)
    return shown


def _all(table: PaperTable, members: Group) -> tuple[Column, ...]:
    return in_order({*table.columns, *members.attempted})


def _table(
    table: PaperTable,
    published: bool,
    members: Group | None,
    others: Sequence[Conditions],
    shown: tuple[Column, ...],
    evidence: ResampledScores | None,
    rule: CountRule = DEFAULT,
) -> Table:
    """A table of published rows, of measured ones, or of both with their differences."""
    # Columns.
    scores = scores_of(table, shown)
    footnotes = Footnotes()
    columns = TableColumns(scores, _components(table, members), published, _gap_of(table, members, scores), rule)
    headers = columns.headers(members.leaking if members else (), footnotes)
    conditions = members.conditions if members else None
    # The published rows, as far as they compare.
    sections: list[Section] = []
    notes = []
    if published:
        sections += publication.sections(table.number, columns, footnotes)
        notes += published_notes(table)
    notes += average_note(table, scores)
    # The measured ones, and what is known beside their scores.
    if members:
        heading = "Measured" if published else ""
        sections.append(measured.scores(columns, members, footnotes, heading, evidence))
        if published:
            sections.append(publication.difference(table.number, columns, members, footnotes))
        sections += measured.other_scores(columns, members, footnotes, table.overall)
        notes += measured_notes(table, members, shown, rule)
        notes += gap_note(columns.gap)
    one_seed = members is not None and len(members.seeds) == 1
    return Table(
        title=title(table, published, conditions),
        caption=caption(table, published, conditions, others, one_seed),
        headers=headers,
        sections=tuple(section for section in sections if section.rows),
        notes=tuple(notes),
        footnotes=tuple(footnotes.texts),
        number=table.number,
        measured="" if published else repr(conditions),
    )


def _components(table: PaperTable, members: Group | None) -> tuple[str, ...]:
    """For Table 4 the paper's components, then all others that a method of the table has; those that the paper's table
    has no column for are left out where nothing was measured."""
    if table.shows == "splits":
        return ()
    if not members:
        return publication.components(table.number)
    labels = list(COMPONENTS)
    for row in members.rows:
        labels += row.composition
    return tuple(dict.fromkeys(labels))


def _gap_of(table: PaperTable, members: Group | None, scores: Sequence[ScoreColumn]) -> ScoreColumn | None:
    """The score whose gap is shown: the table's own average, or its only column; None without both references."""
    if not members:
        return None
    references = [row.cell.method for row in members.rows if row.is_reference]
    # Which of several is the end of the gap is not for barbench to choose.
    if sorted(references) != sorted((HEAD_ONLY, FULL)):
        return None
    averages = [score for score in scores if len(score.over) > 1 and score.rule == table.rule]
    if averages:
        return averages[-1]
    return scores[-1]
