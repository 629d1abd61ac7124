"""The protocols: their files, splits, context lengths and table columns, as facts. `barbench list splits`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from barbench.registry import Registry


class Counts(NamedTuple):
    """Sizes of a split of the public release."""

    references: int
    images: int
    sentences: int


class Evaluated(NamedTuple):
    """An evaluation split, and the `key` that it has in a record."""

    key: str
    protocol: "Protocol"
    split: str


@dataclass(frozen=True)
class Protocol:
    """One partition of one dataset.

    Attributes:
        name: as on the command line.
        folder: of the dataset, in the public layout.
        refs_file: its references file in that folder.
        evals: names of the evaluation splits.
        words: context length in tokens, start and end of text included, as the paper's family of methods uses it.
        title: for people.
        dataset: what the paper calls the dataset.
        partition: who divided it: unc, umd or google.
        columns: the table column of each evaluation split.
        counts: the public release's sizes, by split.
        leaks: evaluation splits that share images with `train` by the partition's construction.
        trusted_sentences: False if the sentence counts are from memory (a mismatch is then a warning, not a failure).
        none_below: a prediction of fewer pixels says that the expression means no object; None where every expression
            means one.
        instances_file: images and annotations, in that folder too.
        upright: whether images are turned as their EXIF says, because the annotations were drawn on the turned ones.
    """

    name: str
    folder: str
    refs_file: str
    evals: tuple[str, ...]
    words: int
    title: str
    dataset: str
    partition: str
    columns: Mapping[str, str] = field(hash=False)
    counts: Mapping[str, Counts] = field(hash=False)
    leaks: tuple[str, ...] = ()
    trusted_sentences: bool = True
    none_below: int | None = None
    instances_file: str = "instances.json"
    upright: bool = False

    @property
    def general(self) -> bool:
        """Whether an expression may mean several objects, or none."""
        return self.none_below is not None

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits, train first."""
        return ("train", *self.evals)

    @property
    def members(self) -> tuple["Protocol", ...]:
        """The protocols whose train splits train: itself (see `mixtures.Mixture`)."""
        return (self,)

    @property
    def reads(self) -> tuple["Protocol", ...]:
        """The protocols whose files are read: itself."""
        return (self,)

    @property
    def evaluated(self) -> tuple[Evaluated, ...]:
        """The evaluation splits."""
        return tuple(Evaluated(split, self, split) for split in self.evals)


PROTOCOLS: Registry[Protocol] = Registry("split")
"""The paper's four."""

PROTOCOLS.register(
    "refcoco",
    Protocol(
        name="refcoco",
        folder="refcoco",
        refs_file="refs(unc).p",
        evals=("val", "testA", "testB"),
        words=17,
        title="RefCOCO",
        dataset="RefCOCO",
        partition="unc",
        columns={"val": "val", "testA": "testA", "testB": "testB"},
        counts={
            "train": Counts(42_404, 16_994, 120_624),
            "val": Counts(3_811, 1_500, 10_834),
            "testA": Counts(1_975, 750, 5_657),
            "testB": Counts(1_810, 750, 5_095),
        },
    ),
)
PROTOCOLS.register(
    "refcoco+",
    Protocol(
        name="refcoco+",
        folder="refcoco+",
        refs_file="refs(unc).p",
        evals=("val", "testA", "testB"),
        words=17,
        title="RefCOCO+",
        dataset="RefCOCO+",
        partition="unc",
        columns={"val": "val", "testA": "testA", "testB": "testB"},
        counts={
            "train": Counts(42_278, 16_992, 120_191),
            "val": Counts(3_805, 1_500, 10_758),
            "testA": Counts(1_975, 750, 5_726),
            "testB": Counts(1_798, 750, 4_889),
        },
    ),
)
PROTOCOLS.register(
    "refcocog-u",
    Protocol(
        name="refcocog-u",
        folder="refcocog",
        refs_file="refs(umd).p",
        evals=("val", "test"),
        words=22,
        title="G-Ref (umd)",
        dataset="G-Ref",
        partition="umd",
        columns={"val": "val(u)", "test": "test(u)"},
        counts={
            "train": Counts(42_226, 21_899, 80_512),
            "val": Counts(2_573, 1_300, 4_896),
            "test": Counts(5_023, 2_600, 9_602),
        },
        trusted_sentences=False,
    ),
)
PROTOCOLS.register(
    "refcocog-g",
    Protocol(
        name="refcocog-g",
        folder="refcocog",
        refs_file="refs(google).p",
        evals=("val",),
        words=22,
        title="G-Ref (google)",
        dataset="G-Ref",
        partition="google",
        columns={"val": "val(g)"},
        counts={
            "train": Counts(44_822, 24_698, 85_474),
            "val": Counts(5_000, 4_650, 9_536),
        },
        leaks=("val",),  # google partitions objects, not images: most val images are also in train
        trusted_sentences=False,
    ),
)

# Liu, Ding and Jiang, GRES (CVPR 2023): expressions that mean one object, several, or none. The release has the files
# grefs(unc).json and instances.json (henghuiding/ReLA, gres_model/data/datasets/grefer.py at a389648). Where a method
# has no output that says "no object", a mask of fewer than 50 pixels counts as none. Sizes are not compared: releases
# differ. The context is G-Ref's, since expressions of several objects are as long.
GREFCOCO = Protocol(
    name="grefcoco",
    folder="grefcoco",
    refs_file="grefs(unc).json",
    evals=("val", "testA", "testB"),
    words=22,
    title="gRefCOCO",
    dataset="gRefCOCO",
    partition="unc",
    columns={"val": "val", "testA": "testA", "testB": "testB"},
    counts={},
    none_below=50,
)

KNOWN: Registry[Protocol] = Registry("split")
"""The paper's four, and gRefCOCO."""
for _protocol in (*PROTOCOLS, GREFCOCO):
    KNOWN.register(_protocol.name, _protocol)
