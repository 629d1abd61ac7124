"""The columns of a table, as the paper sets it: scores, averages, headers. `barbench report --table 1,2`."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from barbench.paper.tables import ALWAYS_LEAKS, COMPONENTS, Column, PaperTable, Rule
from barbench.reports.tables.grouping import Conditions, in_order, name_columns
from barbench.reports.tables.table import Entry, EntryRow, Footnotes, Header


@dataclass(frozen=True)
class Score:
    """A column of scores: one of the paper's columns, or the average over several.

    Attributes:
        group: header over the column's name.
        name: of the column.
        over: the paper's columns.
        rule: of the average.
        published: (dataset, column) in the paper's table; None if it is computed.
    """

    group: str
    name: str
    over: tuple[Column, ...]
    rule: Rule = "columns"
    published: tuple[str, str] | None = None


def comparable(table: PaperTable, conditions: Conditions) -> bool:
    """Whether records may be shown beside what the paper printed.

    Args:
        table: of the paper.
        conditions: of the records.

    Returns:
        True for real data, and for the paper's backbone with its weights, which are the tag or a file of the user's.
    """
    weights = conditions.weights == table.family.tag or "@" in conditions.weights
    return (
        conditions.data == "refer"
        and conditions.metric == "mIoU"
        and conditions.backbone in table.family.backbones
        and weights
    )


def scores_of(table: PaperTable, mine: tuple[Column, ...]) -> tuple[Score, ...]:
    """The score columns of a table.

    Args:
        table: of the paper.
        mine: the paper's columns to show.

    Returns:
        Columns with averages, if there is more than one to average.
    """
    datasets = dict.fromkeys(column.title for column in mine)
    over = {name: tuple(column for column in mine if column.title == name) for name in datasets}
    if table.shows == "datasets":
        scores = [Score("Average IoU", name, over[name], published=(name, "Avg")) for name in datasets]
        average = Score("Average IoU", "Avg", mine, table.rule, ("", "Avg"))
        return tuple(scores + [average] * (len(datasets) > 1))
    splits = [Score(at.title, at.name, (at,), published=(at.title, at.name)) for at in mine]
    return (*splits, *_averages(table.rule, mine, len(datasets)))


def _averages(rule: Rule, mine: tuple[Column, ...], datasets: int) -> list[Score]:
    if datasets < 2:
        return [Score("", "Avg", mine, rule, ("", "Avg"))] * (len(mine) > 1)
    other: Rule = "datasets" if rule == "columns" else "columns"
    flat = tuple(column for column in mine if column != ALWAYS_LEAKS)
    over = {"datasets": mine, "columns": flat}
    return [Score("Avg", rule, over[rule], rule, ("", "Avg")), Score("Avg", other, over[other], other)]


@dataclass(frozen=True)
class Frame:
    """The columns of one finished table.

    Attributes:
        scores: the score columns.
        components: labels, one column each.
        metric: whether a column names each row's IoU.
        gap: the score whose closed gap the last column shows; None for no such column.
    """

    scores: tuple[Score, ...]
    components: tuple[str, ...]
    metric: bool
    gap: Score | None = None

    def row(
        self,
        label: Entry,
        scores: Iterable[Entry],
        checks: Mapping[str, str] | None = None,
        parameters: Entry = Entry(""),
        metric: str = "",
        gap: Entry = Entry(""),
    ) -> EntryRow:
        """Put a row together.

        Args:
            label: the first entry.
            scores: one entry per score column.
            checks: signs by component label.
            parameters: entry of that column.
            metric: name of the row's IoU.
            gap: entry of the last column.

        Returns:
            One entry per column.
        """
        signs = [Entry((checks or {}).get(name, "")) for name in self.components]
        return (label, *signs, parameters, *[Entry(metric)] * self.metric, *scores, *[gap] * (self.gap is not None))

    def headers(self, leaking: Collection[Column], footnotes: Footnotes) -> tuple[Header, ...]:
        """The table's headers.

        Args:
            leaking: columns that leak for every row; these, and val(g), get a footnote.
            footnotes: gets the texts.

        Returns:
            One header per column.
        """
        leaks = in_order({c for score in self.scores for c in score.over if c in leaking or c == ALWAYS_LEAKS})
        verb = "leak: images of theirs" if len(leaks) > 1 else "leaks: images of it"

        def marks(score: Score) -> tuple[int, ...]:
            affected = not set(leaks).isdisjoint(score.over)
            return footnotes.add(f"{name_columns(leaks)} {verb} are also in the training set.") if affected else ()

        return (
            Header("", "Method", "left"),
            *(Header("", COMPONENTS.get(name, name), "center") for name in self.components),
            Header("", "Params (M)"),
            *[Header("", "IoU", "left")] * self.metric,
            *(Header(score.group, score.name, "right", marks(score)) for score in self.scores),
            *[Header("", "Gap closed")] * (self.gap is not None),
        )
