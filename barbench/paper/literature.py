"""Numbers of other papers, READMEs and cards, with what it takes to read them: `published_scores()`.

Every number is one line of `published_more.csv`, as printed, with its metric, what the system was trained on, how its
source averages, where it was seen and how far it was verified. Venues and encoders of quoted lines are common knowledge
rather than checked. A line is never compared with one of another metric or another training.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import groupby
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, TypeAdapter

from barbench.paper.published import csv_lines
from barbench.paper.tables import PAPER_COLUMNS, Column

Metric = Literal[
    "mIoU", "oIoU", "P@0.5", "P@0.7", "P@0.9", "Acc@0.5 (boxes)",
    "All@0.7", "All@0.9", "worst-path IoU", "mRR", "rIoU", "Acc", "gIoU", "cIoU",
]  # fmt: skip
Training = Literal[
    "one data set",
    "mixed without evaluation images",
    "mixed leaked",
    "mixed, filter unknown",
    "mixed, filter unknown, with COCO-Stuff masks",
    "its training split",
    "split by seen and unseen classes",
    "zero shot on aRefCOCO after its own RES training",
    "released weights",
    "unknown",
]
Verified = Literal["primary", "quoted", "notes-only"]
"""Seen in the system's own paper, README or card; in another system's; in public notes and reviews alone."""

Averaging = Literal["flat8", "sets3", "flat9"]
"""How a paper averages: the eight columns without G-Ref google alike; their three data sets alike; all nine alike."""

AVERAGED: Final = "average"
"""The split of a line that holds an average."""
_RULES: Final[dict[str, Averaging]] = {
    "flat mean of nine columns": "flat9",
    "flat mean of eight columns": "flat8",
    "flat mean of eight columns (G-Ref google left out)": "flat8",
}
_COLUMNS: Final = {
    ("G-Ref umd", "val"): ("G-Ref", "val(u)"),
    ("G-Ref umd", "test"): ("G-Ref", "test(u)"),
    ("G-Ref google", "val"): ("G-Ref", "val(g)"),
}


def _year(text: object) -> object:
    return None if text == "unknown" else text


@dataclass(frozen=True)
class PublishedScore:
    """One number, as its source prints it.

    Attributes:
        system: its name, with the variant.
        year: None if it is not known.
        tuned: parameters that its training changes, in words; `tuned_counts` says what that counts.
        image_size: in pixels, in words.
        split: of the data set that is evaluated; `average` for a number over data sets.
        value: with the digits of the source, in percent.
        averaging: how the source averages, or over what its metric is taken.
        backbone_saw_coco: which labels of COCO the pretraining of a tower used.
    """

    system: str
    venue: str
    year: Annotated[int | None, BeforeValidator(_year)]
    backbone: str
    text_encoder: str
    tuned: str
    tuned_counts: str
    metric: Metric
    training: Training
    image_size: str
    dataset: str
    split: str
    value: Decimal
    averaging: str
    source: str
    verified: Verified
    backbone_saw_coco: Literal["none", "masks", "unknown"]
    note: str

    @property
    def column(self) -> Column | None:
        """The column of the paper's tables; None for an average, and for other data."""
        wanted = _COLUMNS.get((self.dataset, self.split), (self.dataset, self.split))
        for column in PAPER_COLUMNS:
            if (column.title, column.name) == wanted:
                return column
        return None

    @property
    def rule(self) -> Averaging | None:
        """How the source averages; None if it does not say, or prints no average."""
        return _RULES.get(self.averaging)

    @property
    def on_papers_data(self) -> bool:
        """Whether the number is of RefCOCO, RefCOCO+ or G-Ref as the paper divides them, or an average over them."""
        return self.column is not None or self.split == AVERAGED


@dataclass(frozen=True)
class PublishedSystem:
    """The numbers of one system from one source, trained in one way, that make a row; at least one."""

    scores: tuple[PublishedScore, ...]

    @property
    def about(self) -> PublishedScore:
        """One of them, for what all have in common."""
        return self.scores[0]

    def value(self, column: Column) -> PublishedScore | None:
        """The number of a column of the paper's tables; None if the source does not give it."""
        return next((score for score in self.scores if score.column == column), None)

    @property
    def average(self) -> PublishedScore | None:
        """The average that the source prints; None if it prints none."""
        return next((score for score in self.scores if score.split == AVERAGED), None)


@cache
def published_scores() -> tuple[PublishedScore, ...]:
    """Every line, validated."""
    return TypeAdapter(tuple[PublishedScore, ...]).validate_python(list(csv_lines("published_more.csv")))


def published_systems(on_papers_data: bool) -> tuple[PublishedSystem, ...]:
    """Rows of the paper's data, each in one metric, or rows of all other data, each of one data set; in the order of
    the file."""
    chosen = [score for score in published_scores() if score.on_papers_data == on_papers_data]
    return tuple(PublishedSystem(tuple(members)) for _, members in groupby(chosen, key=_row))


def _row(score: PublishedScore) -> tuple[object, ...]:
    """What the numbers of a row share."""
    of_row = score.metric if score.on_papers_data else score.dataset
    return (
        of_row,
        score.system,
        score.backbone,
        score.training,
        score.image_size,
        score.source,
        score.verified,
    )
