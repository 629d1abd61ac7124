"""What sets the paper's five tables apart: backbone, columns, averaging rule. `barbench report --table 1,2`."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from barbench.registry import Registry
from barbench.reports.averages import Rule
from barbench.reports.grouping import PAPER_COLUMNS, Column, Conditions, in_order, name_columns
from barbench.reports.model import Entry, EntryRow, Footnotes, Header

COMPONENTS = {"SNF": "SNF", "Bridge": "ETRIS", "LIM": "LIM", "GST": "GST"}
"""Component label -> its column in Table 4; other components get a column of their own."""

ALWAYS_LEAKS = Column("refcocog-g", "val(g)")


@dataclass(frozen=True)
class Family:
    """The backbone of a table: its name in words, open_clip's names for it, and the weights that the paper took."""

    title: str
    backbones: tuple[str, ...]
    tag: str


CLIP_B = Family("CLIP ViT-B/16", ("ViT-B-16-quickgelu", "ViT-B-16"), "openai")
EVA_B = Family("EVA02-CLIP ViT-B/16", ("EVA02-B-16",), "merged2b_s8b_b131k")
CLIP_L = Family("CLIP ViT-L/14", ("ViT-L-14-quickgelu", "ViT-L-14"), "openai")
FAMILIES = (CLIP_B, EVA_B, CLIP_L)


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


@dataclass(frozen=True)
class Layout:
    """One table of the paper. `shows`: a column for each split, or one for each dataset beside the components."""

    number: str
    title: str
    family: Family
    rule: Rule
    columns: tuple[Column, ...] = PAPER_COLUMNS
    shows: Literal["splits", "datasets"] = "splits"
    overall: bool = False
    """Also the measured overall IoU, in tables where the paper quotes overall IoU."""

    def has(self, backbone: str) -> bool:
        """Whether the table is of `backbone`; one that the paper does not use stands in every table."""
        named = {name for family in FAMILIES for name in family.backbones}
        return backbone in self.family.backbones or backbone not in named

    def comparable(self, conditions: Conditions) -> bool:
        """Real data, and the paper's backbone with its weights: the tag, or a file of the user's that stands for it."""
        weights = conditions.weights == self.family.tag or "@" in conditions.weights
        return conditions.data == "refer" and conditions.backbone in self.family.backbones and weights

    def omits(self, protocol: str) -> bool:
        """Whether the paper's table leaves this protocol of the paper out, as Tables 2 and 3 do with refcocog-g."""
        return protocol in {column.protocol for column in PAPER_COLUMNS} - {column.protocol for column in self.columns}

    def scores(self, mine: tuple[Column, ...]) -> tuple[Score, ...]:
        """The score columns over `mine`, with averages where there is more than one."""
        datasets = dict.fromkeys(column.dataset for column in mine)
        over = {name: tuple(column for column in mine if column.dataset == name) for name in datasets}
        if self.shows == "datasets":
            scores = [Score("Average IoU", name, over[name], published=(name, "Avg")) for name in datasets]
            average = Score("Average IoU", "Avg", mine, self.rule, ("", "Avg"))
            return tuple(scores + [average] * (len(datasets) > 1))
        splits = [Score(at.dataset, at.name, (at,), published=(at.dataset, at.name)) for at in mine]
        return (*splits, *self._averages(mine, len(datasets)))

    def _averages(self, mine: tuple[Column, ...], datasets: int) -> list[Score]:
        if datasets < 2:
            return [Score("", "Avg", mine, self.rule, ("", "Avg"))] * (len(mine) > 1)
        other: Rule = "datasets" if self.rule == "columns" else "columns"
        flat = tuple(column for column in mine if column != ALWAYS_LEAKS)
        over = {"datasets": mine, "columns": flat}
        return [
            Score("Avg", self.rule, over[self.rule], self.rule, ("", "Avg")),
            Score("Avg", other, over[other], other),
        ]


TABLES: Registry[Layout] = Registry("table")
for _layout in (
    Layout("1", "Methods without additional training data", CLIP_B, "datasets", overall=True),
    Layout("2", "Beside full fine-tuning with additional data", EVA_B, "columns", PAPER_COLUMNS[:8], overall=True),
    Layout("3", "Beside full fine-tuning of large backbones", CLIP_L, "columns", PAPER_COLUMNS[:8], overall=True),
    Layout("4", "Component ablation", CLIP_B, "datasets", shows="datasets"),
    Layout("5", "Scores on every split", CLIP_B, "datasets"),
):
    TABLES.register(_layout.number, _layout)


@dataclass(frozen=True)
class Frame:
    """The columns of one finished table: what leads a row, then its scores."""

    scores: tuple[Score, ...]
    components: tuple[str, ...]
    metric: bool
    """Whether a column names each row's IoU."""

    def row(
        self,
        label: Entry,
        scores: Iterable[Entry],
        checks: Mapping[str, str] | None = None,
        parameters: Entry = Entry(""),
        metric: str = "",
    ) -> EntryRow:
        """A row of the table; `checks` are signs by component label."""
        signs = [Entry((checks or {}).get(name, "")) for name in self.components]
        return (label, *signs, parameters, *[Entry(metric)] * self.metric, *scores)

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
        )
