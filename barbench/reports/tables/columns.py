"""The columns of a table, as the paper sets it: scores, averages, headers. `barbench report --table 1,2`."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from barbench.paper.tables import ALWAYS_LEAKS, COMPONENTS, Column, PaperTable, Rule
from barbench.reports.tables.grouping import Conditions, Group, in_order, name_columns
from barbench.reports.tables.table import Entry, EntryRow, Footnotes, Header
from barbench.spec.accounting import CountRule


@dataclass(frozen=True)
class ScoreColumn:
    """A column of scores: one of the paper's columns, or the average over several.

    Attributes:
        published: (dataset, column) in the paper's table; None if it is computed.
    """

    group: str
    name: str
    over: tuple[Column, ...]
    rule: Rule = "columns"
    published: tuple[str, str] | None = None


def shared_score(members: Group) -> ScoreColumn:
    """The average over the columns that all rows share, by which the page ranks."""
    return ScoreColumn("", members.conditions.metric, members.shared, "datasets")


def comparable(table: PaperTable, conditions: Conditions) -> bool:
    """Whether records may be shown beside what the paper printed: real data, all of them, and the paper's backbone with
    its weights, which are the tag or a file of the user's."""
    weights = conditions.weights == table.backbone.tag or "@" in conditions.weights
    return (
        conditions.data == "refer"
        and not conditions.subset
        and conditions.metric == "mIoU"
        and conditions.backbone in table.backbone.backbones
        and weights
    )


def scores_of(table: PaperTable, shown: tuple[Column, ...]) -> tuple[ScoreColumn, ...]:
    """The score columns of a table that shows some of the paper's columns, with averages if there are several."""
    by_dataset: dict[str, list[Column]] = {}
    for column in shown:
        by_dataset.setdefault(column.title, []).append(column)
    scores = []
    # A column per data set: the average over its splits, as the paper calls it.
    if table.shows == "datasets":
        for dataset, columns in by_dataset.items():
            scores.append(ScoreColumn("Average IoU", dataset, tuple(columns), published=(dataset, "Avg")))
        if len(by_dataset) > 1:
            scores.append(ScoreColumn("Average IoU", "Avg", shown, table.rule, ("", "Avg")))
        return tuple(scores)
    # A column per split, then the averages.
    for column in shown:
        scores.append(ScoreColumn(column.title, column.name, (column,), published=(column.title, column.name)))
    if len(by_dataset) > 1:
        scores += _two_averages(table.rule, shown)
    elif len(shown) > 1:
        scores.append(ScoreColumn("", "Avg", shown, table.rule, ("", "Avg")))
    return tuple(scores)


def _two_averages(rule: Rule, shown: tuple[Column, ...]) -> list[ScoreColumn]:
    """The average by the table's own rule, which the paper prints, and by the other one."""
    other: Rule = "datasets" if rule == "columns" else "columns"
    over = {
        "datasets": shown,
        "columns": tuple(column for column in shown if column != ALWAYS_LEAKS),
    }
    return [
        ScoreColumn("Avg", rule, over[rule], rule, ("", "Avg")),
        ScoreColumn("Avg", other, over[other], other),
    ]


@dataclass(frozen=True)
class TableColumns:
    """The columns of one finished table.

    Attributes:
        metric: whether a column names each row's IoU.
        gap: the score whose closed gap the last column shows; None for no such column.
        counting: what the column of parameters counts.
    """

    scores: tuple[ScoreColumn, ...]
    components: tuple[str, ...]
    metric: bool
    gap: ScoreColumn | None
    counting: CountRule

    def row(
        self,
        label: Entry,
        scores: Iterable[Entry],
        checks: Mapping[str, str] | None = None,
        parameters: Entry = Entry(""),
        metric: str = "",
        gap: Entry = Entry(""),
    ) -> EntryRow:
        """One entry per column, of these parts; `checks` are signs by component label, `metric` is the name of the
        row's IoU."""
        signs = checks or {}
        row = [label]
        for name in self.components:
            row.append(Entry(signs.get(name, "")))
        row.append(parameters)
        if self.metric:
            row.append(Entry(metric))
        row += scores
        if self.gap is not None:
            row.append(gap)
        return tuple(row)

    def headers(self, leaking: Collection[Column], footnotes: Footnotes) -> tuple[Header, ...]:
        """One header per column; columns that leak for every row (`leaking`), and val(g), get a footnote."""
        # Columns that leak are marked once, in their header.
        shown = {column for score in self.scores for column in score.over}
        leaks = in_order(shown & {*leaking, ALWAYS_LEAKS})
        verb = "leak: images of theirs" if len(leaks) > 1 else "leaks: images of it"
        # In the order of `row`.
        headers = [Header("", "Method", "left")]
        for name in self.components:
            headers.append(Header("", COMPONENTS.get(name, name), "center"))
        headers.append(Header("", "Params (%)" if self.counting.in_percent else "Params (M)"))
        if self.metric:
            headers.append(Header("", "IoU", "left"))
        for score in self.scores:
            marks: tuple[int, ...] = ()
            if not set(leaks).isdisjoint(score.over):
                marks = footnotes.add(f"{name_columns(leaks)} {verb} are also in the training set.")
            headers.append(Header(score.group, score.name, "right", marks))
        if self.gap is not None:
            headers.append(Header("", "Gap closed"))
        return tuple(headers)
