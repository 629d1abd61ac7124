"""The partitions of the public data sets: their files, splits, context lengths and table columns, as facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from barbench.registry import Registry

Exif = Literal["stored", "apply"]
"""How images are read: as stored, or turned as their EXIF orientation says."""


class Counts(NamedTuple):
    """Sizes of a split of the public release."""

    references: int
    images: int
    sentences: int


@dataclass(frozen=True)
class Partition:
    """One data set as somebody divided it into splits: one references file, and the annotations that it refers to.

    Attributes:
        name: as on the command line.
        folder: of the data set, in the public layout.
        refs_file: its references file in that folder.
        eval_splits: names of the evaluation splits.
        context_length: in tokens, start and end of text included, as the paper's family of methods uses it.
        title: for people.
        paper_name: what the paper calls the data set.
        divided_by: unc, umd or google; own for a data set that is not public.
        columns: the table column of each evaluation split.
        counts: the public release's sizes, by split.
        leaks: evaluation splits that share images with `train` by construction.
        trusted_sentences: False if the sentence counts are from memory (a mismatch is then a warning, not a failure).
        none_below: a prediction of fewer pixels says that the expression means no object; None where every expression
            means one.
        instances_file: images and annotations, in that folder too.
        exif: `apply` where the annotations were drawn on the turned images.
    """

    name: str
    folder: str
    refs_file: str
    eval_splits: tuple[str, ...]
    context_length: int
    title: str
    paper_name: str
    divided_by: str
    columns: Mapping[str, str] = field(hash=False)
    counts: Mapping[str, Counts] = field(hash=False)
    leaks: tuple[str, ...] = ()
    trusted_sentences: bool = True
    none_below: int | None = None
    instances_file: str = "instances.json"
    exif: Exif = "stored"

    @property
    def allows_no_target(self) -> bool:
        """Whether an expression may mean several objects, or none."""
        return self.none_below is not None

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits, train first."""
        return ("train", *self.eval_splits)


PAPER_PARTITIONS: Registry[Partition] = Registry("dataset")
"""The paper's four."""

PAPER_PARTITIONS.register(
    "refcoco",
    Partition(
        name="refcoco",
        folder="refcoco",
        refs_file="refs(unc).p",
        eval_splits=("val", "testA", "testB"),
        context_length=17,
        title="RefCOCO",
        paper_name="RefCOCO",
        divided_by="unc",
        columns={"val": "val", "testA": "testA", "testB": "testB"},
        counts={
            "train": Counts(42_404, 16_994, 120_624),
            "val": Counts(3_811, 1_500, 10_834),
            "testA": Counts(1_975, 750, 5_657),
            "testB": Counts(1_810, 750, 5_095),
        },
    ),
)
PAPER_PARTITIONS.register(
    "refcoco+",
    Partition(
        name="refcoco+",
        folder="refcoco+",
        refs_file="refs(unc).p",
        eval_splits=("val", "testA", "testB"),
        context_length=17,
        title="RefCOCO+",
        paper_name="RefCOCO+",
        divided_by="unc",
        columns={"val": "val", "testA": "testA", "testB": "testB"},
        counts={
            "train": Counts(42_278, 16_992, 120_191),
            "val": Counts(3_805, 1_500, 10_758),
            "testA": Counts(1_975, 750, 5_726),
            "testB": Counts(1_798, 750, 4_889),
        },
    ),
)
PAPER_PARTITIONS.register(
    "refcocog-u",
    Partition(
        name="refcocog-u",
        folder="refcocog",
        refs_file="refs(umd).p",
        eval_splits=("val", "test"),
        context_length=22,
        title="G-Ref (umd)",
        paper_name="G-Ref",
        divided_by="umd",
        columns={"val": "val(u)", "test": "test(u)"},
        counts={
            "train": Counts(42_226, 21_899, 80_512),
            "val": Counts(2_573, 1_300, 4_896),
            "test": Counts(5_023, 2_600, 9_602),
        },
        trusted_sentences=False,
    ),
)
PAPER_PARTITIONS.register(
    "refcocog-g",
    Partition(
        name="refcocog-g",
        folder="refcocog",
        refs_file="refs(google).p",
        eval_splits=("val",),
        context_length=22,
        title="G-Ref (google)",
        paper_name="G-Ref",
        divided_by="google",
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
GREFCOCO = Partition(
    name="grefcoco",
    folder="grefcoco",
    refs_file="grefs(unc).json",
    eval_splits=("val", "testA", "testB"),
    context_length=22,
    title="gRefCOCO",
    paper_name="gRefCOCO",
    divided_by="unc",
    columns={"val": "val", "testA": "testA", "testB": "testB"},
    counts={},
    none_below=50,
)

PARTITIONS: Registry[Partition] = Registry("dataset")
"""The paper's four, and gRefCOCO."""
for _partition in (*PAPER_PARTITIONS, GREFCOCO):
    PARTITIONS.register(_partition.name, _partition)
