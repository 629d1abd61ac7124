"""The published rows of a table, as printed and corrected, and the differences of measured to published scores."""

from collections.abc import Sequence
from itertools import groupby

from barbench.paper.published import Printed, PublishedRow, published_rows
from barbench.paper.tables import MIXED, PAPER_COLUMNS
from barbench.reports.tables.averages import average, over_seeds, printed
from barbench.reports.tables.grouping import Group, MethodRow
from barbench.reports.tables.layout import Frame, Score
from barbench.reports.tables.rows_measured import number
from barbench.reports.tables.table import Entry, EntryRow, Footnotes, Section

MIX_UNSAID = "The paper does not say whether its mix leaves out the images that are evaluated."


def sections(number: str, frame: Frame, footnotes: Footnotes) -> list[Section]:
    """The published rows of Table `number` under the paper's headings; not ranked, because their IoU differ."""
    return [
        Section(
            f"Published: {heading.lower()}" if heading else "Published",
            tuple(line for row in rows for line in _lines(row, frame, footnotes)),
        )
        for heading, rows in groupby(published_rows(number), key=lambda row: row.section)
    ]


def difference(number: str, frame: Frame, members: Group, footnotes: Footnotes) -> Section:
    """Measured minus published (corrected) mean IoU, for the methods that the published table has."""
    pairs = [(row, paper) for row in members.rows if row.iou and (paper := _partner(number, row))]
    rows = [
        frame.row(
            Entry(row.label, footnotes=footnotes.add(MIX_UNSAID) if paper.mixed != "no" else ()),
            [_difference(row, paper, score) for score in frame.scores],
        )
        for row, paper in pairs
    ]
    return Section("Measured − published (mean IoU)", tuple(rows))


def _lines(row: PublishedRow, frame: Frame, footnotes: Footnotes) -> list[EntryRow]:
    """The row as printed; if numbers are known to be wrong, once more with the right ones."""
    lines = [_line(row, frame, footnotes, corrected=False)]
    if any(cell.corrected for cell in row.cells if cell.kind != "label"):
        lines.append(_line(row, frame, footnotes, corrected=True))
    return lines


def _line(row: PublishedRow, frame: Frame, footnotes: Footnotes, corrected: bool) -> EntryRow:
    label, parameters = row.cell("", "Method"), row.cell("", "Params (M)")
    remarks = [label.reason] if label and label.reason else []
    if row.extra_data != "none":
        remarks.append(f"Extra training data: {row.extra_data}.")
    cited = f" ({row.citation})" if row.citation else ""
    name = f"{row.method}, corrected" if corrected else f"{row.method}{row.dagger}{cited}"
    return frame.row(
        Entry(name, footnotes=footnotes.add(*remarks)),
        [_published(row, score, footnotes, corrected) for score in frame.scores],
        checks={cell.column: cell.printed for cell in row.cells if cell.kind == "component"},
        parameters=Entry(parameters.printed, parameters.value) if parameters else Entry(""),
        metric=row.metric,
    )


def _published(row: PublishedRow, score: Score, footnotes: Footnotes, corrected: bool) -> Entry:
    cell = _cell(row, score)
    if cell is None:
        value = _value(row, score)
        return Entry("-") if value is None else Entry(printed(value), float(printed(value)))
    text = cell.corrected or cell.printed if corrected else cell.printed
    value = cell.corrected_value if corrected else cell.value
    return Entry(text, value, footnotes=footnotes.add(cell.reason) if cell.reason else ())


def _cell(row: PublishedRow, score: Score) -> Printed | None:
    return row.cell(*score.published) if score.published else None


def _value(row: PublishedRow, score: Score) -> float | None:
    """The corrected published number; the average if the paper's table has no such column and all parts are known."""
    if score.published:
        cell = _cell(row, score)
        return cell.corrected_value if cell else None
    cells = [row.cell(column.title, column.name) for column in score.over]
    values = [(cell.dataset, value) for cell in cells if cell and (value := cell.corrected_value) is not None]
    return average(score.rule, values) if len(values) == len(cells) else None


def _partner(number: str, row: MethodRow) -> PublishedRow | None:
    """The published row of the same method, without options, trained likewise (mixed or not), in mean IoU."""
    cell = row.records[0].cell
    mixed = cell.dataset in MIXED
    rows: Sequence[PublishedRow] = [] if cell.options else published_rows(number)
    same = (r for r in rows if r.harness == cell.method and (r.mixed == "yes") == mixed and r.metric == "mean")
    return next(same, None)


def _difference(row: MethodRow, paper: PublishedRow, score: Score) -> Entry:
    """Nothing if the measured columns are not those of the published number."""
    published, summary = _value(paper, score), over_seeds(score.rule, row.iou, score.over)
    alike = all((column in row.iou) == (column in PAPER_COLUMNS) for column in score.over)
    if published is None or summary is None or not alike:
        return Entry("-")
    gap = summary._replace(mean=summary.mean - published)
    return Entry(number(gap, sign="+"), float(printed(gap.mean)))
