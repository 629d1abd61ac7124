"""The published rows of a table, as printed and corrected, and the differences of measured to published scores."""

from itertools import groupby

from barbench.paper.published import Printed, PublishedRow, published_rows
from barbench.paper.tables import MIXED, PAPER_COLUMNS
from barbench.reports.tables.averages import average, over_seeds, printed
from barbench.reports.tables.columns import ScoreColumn, TableColumns
from barbench.reports.tables.grouping import Group, MethodRow
from barbench.reports.tables.rows_measured import number
from barbench.reports.tables.table import Entry, EntryRow, Footnotes, Section
from barbench.spec.accounting import DEFAULT

MIX_UNSAID = "The paper does not say whether its mix leaves out the images that are evaluated."


def sections(number: str, columns: TableColumns, footnotes: Footnotes) -> list[Section]:
    """The published rows of Table `number` under the paper's headings; not ranked, because their IoU differ."""
    found = []
    for heading, rows in groupby(published_rows(number), key=lambda row: row.section):
        lines: list[EntryRow] = []
        for row in rows:
            lines += _lines(row, columns, footnotes)
        title = f"Published: {heading.lower()}" if heading else "Published"
        found.append(Section(title, tuple(lines)))
    return found


def components(number: str) -> tuple[str, ...]:
    """The components that Table `number` has a column for, in its order."""
    names = []
    for row in published_rows(number):
        names += [cell.column for cell in row.cells if cell.kind == "component"]
    return tuple(dict.fromkeys(names))


def difference(number: str, columns: TableColumns, members: Group, footnotes: Footnotes) -> Section:
    """Measured minus published (corrected) mean IoU, for the methods that the published table has."""
    rows = []
    for row in members.rows:
        paper = _partner(number, row)
        if not row.iou or paper is None:
            continue
        marks = footnotes.add(MIX_UNSAID) if paper.mixed != "no" else ()
        entries = [_difference(row, paper, score) for score in columns.scores]
        rows.append(columns.row(Entry(row.label, footnotes=marks), entries))
    return Section("Measured − published (mean IoU)", tuple(rows))


def _lines(row: PublishedRow, columns: TableColumns, footnotes: Footnotes) -> list[EntryRow]:
    """The row as printed; if numbers are known to be wrong, once more with the right ones."""
    lines = [_line(row, columns, footnotes, corrected=False)]
    if any(cell.corrected for cell in row.cells if cell.kind != "label"):
        lines.append(_line(row, columns, footnotes, corrected=True))
    return lines


def _line(row: PublishedRow, columns: TableColumns, footnotes: Footnotes, corrected: bool) -> EntryRow:
    label = row.cell("", "Method")
    remarks = [label.reason] if label and label.reason else []
    if row.extra_data != "none":
        remarks.append(f"Extra training data: {row.extra_data}.")
    name = f"{row.method}{row.dagger}"
    if corrected:
        name = f"{row.method}, corrected"
    elif row.citation:
        name += f" ({row.citation})"
    marks = footnotes.add(*remarks)
    # What papers print was counted by the paper's rule.
    parameters = row.cell("", "Params (M)") if columns.counting == DEFAULT else None
    # A dash where the paper's table has no column for a component.
    checks = dict.fromkeys(columns.components, "-")
    checks.update({cell.column: cell.printed for cell in row.cells if cell.kind == "component"})
    return columns.row(
        Entry(name, footnotes=marks),
        [_published(row, score, footnotes, corrected) for score in columns.scores],
        checks=checks,
        parameters=Entry(parameters.printed, parameters.value) if parameters else Entry(""),
        metric=row.metric,
    )


def _published(row: PublishedRow, score: ScoreColumn, footnotes: Footnotes, corrected: bool) -> Entry:
    # What the table does not print may follow from what it prints.
    cell = _cell(row, score)
    if cell is None:
        value = _value(row, score)
        if value is None:
            return Entry("-")
        return Entry(printed(value), float(printed(value)))
    marks = footnotes.add(cell.reason) if cell.reason else ()
    if corrected:
        return Entry(cell.corrected or cell.printed, cell.corrected_value, footnotes=marks)
    return Entry(cell.printed, cell.value, footnotes=marks)


def _cell(row: PublishedRow, score: ScoreColumn) -> Printed | None:
    if score.published is None:
        return None
    return row.cell(*score.published)


def _value(row: PublishedRow, score: ScoreColumn) -> float | None:
    """The corrected published number; the average if the paper's table has no such column and all parts are known."""
    if score.published:
        cell = _cell(row, score)
        return cell.corrected_value if cell else None
    values = []
    for column in score.over:
        cell = row.cell(column.title, column.name)
        if cell is None or cell.corrected_value is None:
            return None
        values.append((cell.dataset, cell.corrected_value))
    return average(score.rule, values)


def _partner(number: str, row: MethodRow) -> PublishedRow | None:
    """The published row of the same method, without options, trained likewise (mixed or not), in mean IoU."""
    cell = row.cell
    if cell.chosen:
        return None
    mixed = cell.dataset in MIXED
    for paper in published_rows(number):
        if paper.harness == cell.method and (paper.mixed == "yes") == mixed and paper.metric == "mean":
            return paper
    return None


def _difference(row: MethodRow, paper: PublishedRow, score: ScoreColumn) -> Entry:
    """Nothing if the measured columns are not those of the published number."""
    published = _value(paper, score)
    summary = over_seeds(score.rule, row.iou, score.over)
    measured = {column for column in score.over if column in row.iou}
    if published is None or summary is None or measured != set(score.over) & set(PAPER_COLUMNS):
        return Entry("-")
    gap = summary._replace(mean=summary.mean - published)
    return Entry(number(gap, sign="+"), float(printed(gap.mean)))
