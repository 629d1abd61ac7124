"""The paper's Tables 1-5 as facts: how each is set, and which cells it needs. `barbench run --table 4` expands it to
cells, `barbench report` fills it with what was measured and with what the paper printed.

Rows that the paper quotes from others are in `published`. Tables 4 and 5 show the same cells, averaged and in full;
Table 1's are two of their rows. For Table 2 the paper's EVA-CLIP is read as EVA02-B/16 with the weights that open_clip
has for it; Table 3's ViT-L/14 takes the batch and rate that A.2 gives it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from barbench.paper.mixtures import MEMBERS, MIXTURES
from barbench.paper.partitions import PAPER_PARTITIONS, PARTITIONS
from barbench.registry import Registry

PAPER_METHODS = ("etris", "snf", "snf-etris", "no-global", "barleria")
"""The rows of Tables 4 and 5, in the paper's order."""

HEAD_ONLY = "head-only"
"""The reference method that trains the segmentation head alone."""

FULL = "full"
"""The reference method that trains both encoders in full."""

OWN_NECKS = {"cris": "cris"}
"""Methods that bring a neck of their own -> which one."""

COMPONENTS = {"SNF": "SNF", "Bridge": "ETRIS", "LIM": "LIM", "GST": "GST"}
"""Component label -> its column in Table 4; other components get a column of their own."""

MIXED = {mixture.name: mixture.suffix for mixture in MIXTURES}
"""Name of a mixture -> what the labels of its rows add, as the paper's BarLeRIa-Mixed."""

Rule = Literal["datasets", "columns"]
"""The paper's two averages: over each dataset, then over datasets (Tables 1, 4, 5); over all columns alike (2, 3)."""


class Column(NamedTuple):
    """One evaluation split as the paper's tables name it: val, testA, testB, val(u), test(u) or val(g)."""

    dataset: str
    name: str

    @property
    def title(self) -> str:
        """What the paper calls the dataset."""
        return dataset_title(self.dataset)


def dataset_title(dataset: str) -> str:
    """What the paper calls the dataset of `dataset`; an unknown name is returned as it is."""
    return PARTITIONS.get(dataset).paper_name if dataset in PARTITIONS else dataset


_EIGHT = tuple(p.name for p in MEMBERS)
PAPER_COLUMNS = tuple(Column(p.name, p.columns[split]) for p in PAPER_PARTITIONS for split in p.eval_splits)
MEMBER_COLUMNS = tuple(column for column in PAPER_COLUMNS if column.dataset in _EIGHT)
ALWAYS_LEAKS = next(Column(p.name, p.columns[split]) for p in PAPER_PARTITIONS for split in p.leaks)


@dataclass(frozen=True)
class PaperBackbone:
    """The backbone of a table: open_clip's names for it, and the tag of the weights that the paper uses; `embedded` is
    the backbone that stands for it on shapes."""

    title: str
    backbones: tuple[str, ...]
    tag: str
    embedded: str

    @property
    def names(self) -> tuple[str, ...]:
        """All backbones whose records go into its tables: open_clip's and the embedded one."""
        return (*self.backbones, self.embedded)


CLIP_B = PaperBackbone("CLIP ViT-B/16", ("ViT-B-16-quickgelu", "ViT-B-16"), "openai", "tiny")
EVA_B = PaperBackbone("EVA02-CLIP ViT-B/16", ("EVA02-B-16",), "merged2b_s8b_b131k", "tiny-eva")
CLIP_L = PaperBackbone("CLIP ViT-L/14", ("ViT-L-14-quickgelu", "ViT-L-14"), "openai", "tiny-l")
PAPER_BACKBONES = (CLIP_B, EVA_B, CLIP_L)


@dataclass(frozen=True)
class Block:
    """Cells that share a backbone and a recipe.

    Attributes:
        methods: as on the command line: a comma list or `all`.
        backbone: open_clip's name.
        weights: open_clip's tag; None for the backbone's default.
    """

    methods: str
    backbone: str
    weights: str | None
    datasets: tuple[str, ...]
    recipe: str


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper: how it is set, and the cells that it needs.

    Attributes:
        shows: one column per split, or one per dataset next to the components.
        overall: whether the measured overall IoU is shown too, as in tables where the paper quotes overall IoU.
    """

    number: str
    title: str
    backbone: PaperBackbone
    rule: Rule
    needs: tuple[Block, ...]
    columns: tuple[Column, ...] = PAPER_COLUMNS
    shows: Literal["splits", "datasets"] = "splits"
    overall: bool = False

    def has(self, backbone: str) -> bool:
        """Whether records of `backbone` go into this table; a backbone that the paper does not use goes into every
        table."""
        if backbone in self.backbone.names:
            return True
        return not any(backbone in other.names for other in PAPER_BACKBONES)

    def omits(self, dataset: str) -> bool:
        """Whether the table leaves out a dataset of the paper, as Tables 2 and 3 do with refcocog-g."""
        of_paper = {column.dataset for column in PAPER_COLUMNS}
        own = {column.dataset for column in self.columns}
        return dataset in of_paper - own


_B = CLIP_B.backbones[0]
_L = CLIP_L.backbones[0]
_EVA = EVA_B.backbones[0]
_EVERY = Block(",".join(PAPER_METHODS), _B, None, ("all",), "paper")

DEFAULT = Block("all", _B, None, ("refcoco+",), "paper")
"""What `barbench run` does without arguments."""

TABLES: Registry[PaperTable] = Registry("table")
for _table in (
    PaperTable(
        "1",
        "Methods without additional training data",
        CLIP_B,
        "datasets",
        (Block("etris,barleria", _B, None, ("all",), "paper"),),
        overall=True,
    ),
    PaperTable(
        "2",
        "Beside full fine-tuning with additional data",
        EVA_B,
        "columns",
        (
            Block("etris,barleria", _EVA, EVA_B.tag, _EIGHT, "paper"),
            Block("barleria", _EVA, EVA_B.tag, ("mixed",), "paper"),
        ),
        MEMBER_COLUMNS,
        overall=True,
    ),
    PaperTable(
        "3",
        "Beside full fine-tuning of large backbones",
        CLIP_L,
        "columns",
        (Block("barleria", _L, None, _EIGHT, "paper-large"), Block("barleria", _L, None, ("mixed",), "paper-large")),
        MEMBER_COLUMNS,
        overall=True,
    ),
    PaperTable("4", "Component ablation", CLIP_B, "datasets", (_EVERY,), shows="datasets"),
    PaperTable("5", "Scores on every split", CLIP_B, "datasets", (_EVERY,)),
):
    TABLES.register(_table.number, _table)


def needed(numbers: Sequence[str]) -> list[Block]:
    """The cells that some tables need, each block once; UnknownName for a table that the paper does not have."""
    blocks: list[Block] = []
    for number in numbers:
        blocks += TABLES.get(number).needs
    return list(dict.fromkeys(blocks))


def embedded_for(backbone: str) -> str:
    """The embedded backbone that stands for a backbone of the paper on shapes; `tiny` for any other backbone."""
    if backbone.startswith("dinov2"):
        return "tiny-dino"
    for of_paper in PAPER_BACKBONES:
        if backbone in of_paper.backbones:
            return of_paper.embedded
    return CLIP_B.embedded
