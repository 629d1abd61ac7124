"""The columns of a table, from how the paper sets it: scores, averages, headers. `barbench report --table 1,2`."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from barbench.paper.tables import ALWAYS_LEAKS, COMPONENTS, Column, PaperTable, Rule
from barbench.reports.tables.grouping import Conditions, in_order, name_columns
from barbench.reports.tables.table import Entry, EntryRow, Footnotes, Header


@dataclass(frozen=True)
class Score:
    """A column of scores: the average by `rule` over some of the paper's columns, or just one of them.

    `published` is where the paper's table has it, as (dataset, column); None where it is computed.
    """

    group: str
    name: str
    over: tuple[Column, ...]
    rule: Rule = "columns"
    published: tuple[str, str] | None = None


def comparable(table: PaperTable, conditions: Conditions) -> bool:
    """Whether records stand beside what the paper printed: real data, and the paper's backbone with its weights, which
    are the tag or a file of the user's that stands for it."""
    weights = conditions.weights == table.family.tag or "@" in conditions.weights
    return conditions.data == "refer" and conditions.backbone in table.family.backbones and weights


def scores_of(table: PaperTable, mine: tuple[Column, ...]) -> tuple[Score, ...]:
    """The score columns of `table` over `mine`, with averages where there is more than one."""
    datasets = dict.fromkeys(column.dataset for column in mine)
    over = {name: tuple(column for column in mine if column.dataset == name) for name in datasets}
    if table.shows == "datasets":
        scores = [Score("Average IoU", name, over[name], published=(name, "Avg")) for name in datasets]
        average = Score("Average IoU", "Avg", mine, table.rule, ("", "Avg"))
        return tuple(scores + [average] * (len(datasets) > 1))
    splits = [Score(at.dataset, at.name, (at,), published=(at.dataset, at.name)) for at in mine]
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
    """The columns of one finished table: what leads a row, then its scores."""

    scores: tuple[Score, ...]
    components: tuple[str, ...]
    metric: bool
    """Whether a column names each row's IoU."""
    gap: Score | None = None
    """The score whose gap between the ends a last column shows closed; None: no such column."""

    def row(
        self,
        label: Entry,
        scores: Iterable[Entry],
        checks: Mapping[str, str] | None = None,
        parameters: Entry = Entry(""),
        metric: str = "",
        gap: Entry = Entry(""),
    ) -> EntryRow:
        """A row of the table; `checks` are signs by component label."""
        signs = [Entry((checks or {}).get(name, "")) for name in self.components]
        return (label, *signs, parameters, *[Entry(metric)] * self.metric, *scores, *[gap] * (self.gap is not None))

    def headers(self, leaking: Collection[Column], footnotes: Footnotes) -> tuple[Header, ...]:
        """The table's headers; those over columns in `leaking`, and over val(g), say so."""
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
