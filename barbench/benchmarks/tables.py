"""What each table of the paper needs to be measured, as data: `barbench run --table 4` expands it to cells.

Rows that the paper quotes from others are not among it: they are in `reports/published`. Tables 4 and 5 show the same
cells, averaged and in full; Table 1's are two of their rows. For Table 2 the paper's EVA-CLIP is read as EVA02-B/16
with the weights that open_clip has for it; Table 3's ViT-L/14 takes the batch and rate that A.2 gives it.
"""

from dataclasses import dataclass

from barbench.errors import UsageError
from barbench.registry import Registry


@dataclass(frozen=True)
class Block:
    """Cells that share a backbone and a recipe. `methods`, `split`: as on the command line, comma lists or `all`."""

    methods: str
    backbone: str
    weights: str | None
    split: str
    recipe: str


VIT_B, VIT_L, EVA = "ViT-B-16-quickgelu", "ViT-L-14-quickgelu", "EVA02-B-16"
EVA_WEIGHTS = "merged2b_s8b_b131k"
EIGHT = "refcoco,refcoco+,refcocog-u"  # the eight columns of Tables 2 and 3

DEFAULT = Block("all", VIT_B, None, "refcoco+", "paper")
"""What `barbench run` does when it is told nothing else."""

TABLES: Registry[tuple[Block, ...]] = Registry("table")
TABLES.register("1", (Block("etris,barleria", VIT_B, None, "all", "paper"),))
TABLES.register(
    "2",
    (
        Block("etris,barleria", EVA, EVA_WEIGHTS, EIGHT, "paper"),
        Block("barleria", EVA, EVA_WEIGHTS, "mixed", "paper"),
    ),
)
TABLES.register(
    "3",
    (
        Block("barleria", VIT_L, None, EIGHT, "paper-large"),
        Block("barleria", VIT_L, None, "mixed", "paper-large"),
    ),
)
TABLES.register("4", (Block("all", VIT_B, None, "all", "paper"),))
TABLES.register("5", TABLES.get("4"))


def table_numbers(text: str) -> list[str]:
    """Tables by a comma list of their numbers; `all` is every one."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise UsageError("no table was named; try --table 4")
    return TABLES.names() if names == ["all"] else list(dict.fromkeys(names))


def needed(tables: str) -> list[Block]:
    """The blocks of a comma list of tables, each once. Raises UnknownName."""
    return list(dict.fromkeys(block for number in table_numbers(tables) for block in TABLES.get(number)))
