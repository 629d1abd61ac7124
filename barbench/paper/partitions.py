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
        trains: whether it has a train split; False for sets that only evaluate.
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
    trains: bool = True

    @property
    def allows_no_target(self) -> bool:
        """Whether an expression may mean several objects, or none."""
        return self.none_below is not None

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits, train first where there is one."""
        return ("train", *self.eval_splits) if self.trains else self.eval_splits


PAPER_PARTITIONS: Registry[Partition] = Registry("dataset")
"""The paper's four."""

for _partition in (
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
):
    PAPER_PARTITIONS.register(_partition.name, _partition)

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

RELEASES: Registry[Partition] = Registry("dataset")
"""The data sets whose files are read as they were released: the paper's four, and gRefCOCO."""
for _partition in (*PAPER_PARTITIONS, GREFCOCO):
    RELEASES.register(_partition.name, _partition)


def _evaluation_set(
    name: str,
    title: str,
    splits: tuple[str, ...],
    counts: Mapping[str, Counts],
    *,
    folder: str | None = None,
    trains: bool = True,
    none_below: int | None = None,
    files: str = "own",
) -> Partition:
    """A data set that `barbench data import` writes in the release's form; its context is G-Ref's."""
    return Partition(
        name=name,
        folder=folder or name,
        refs_file=f"refs({files}).p",
        eval_splits=splits,
        context_length=22,
        title=title,
        paper_name=title,
        divided_by=files,
        columns={split: split for split in splits},
        counts=counts,
        none_below=none_below,
        instances_file="instances.json" if files == "own" else f"instances({files}).json",
        trains=trains,
    )


EVALUATION_SETS: Registry[Partition] = Registry("dataset")
"""Sets that people evaluate on beside the release's, each with an importer. Counts are those of their cards and papers;
where there are none, they are not known."""

for _partition in (
    # moondream/refcoco-m at 2a8fb52: RefCOCO's val with masks drawn anew.
    _evaluation_set("refcoco-m", "RefCOCO-M", ("val",), {"val": Counts(2_080, 1_190, 5_598)}, trains=False),
    # zhenjiemao/aRefCOCO at 0145e6e: ambiguous sentences about objects of RefCOCO and G-Ref (umd).
    _evaluation_set(
        "arefcoco",
        "aRefCOCO",
        ("test",),
        {"train": Counts(41_417, 18_496, 110_818), "test": Counts(4_112, 2_213, 7_050)},
    ),
    # aws/aws-refcocog-adv at a6adfe6: sentences of G-Ref's test (umd), and the same with words moved or left out.
    _evaluation_set(
        "refcocog-adv",
        "RefCOCOg-Adv",
        ("test", "shuffle", "noun", "adj", "adj_noun", "noun_adj"),
        {"test": Counts(3_704, 976, 3_704)},
        trains=False,
    ),
    # jianzongwu/robust-ref-seg at e7c7da6: each reference has sentences that mean nothing in the image, too. A mask
    # counts as none where it has no pixel.
    _evaluation_set("r-refcoco", "R-RefCOCO", ("val",), {}, folder="rrefcoco", none_below=0),
    _evaluation_set("r-refcoco+", "R-RefCOCO+", ("val",), {}, folder="rrefcoco+", none_below=0),
    _evaluation_set("r-refcocog", "R-RefCOCOg", ("val",), {}, folder="rrefcocog", none_below=0),
    # toggle1995/RIS-DMMI at 753cd60: one object, several or none, in images of train2014 and val2014.
    _evaluation_set("ref-zom", "Ref-ZOM", ("test",), {}, none_below=0),
    # ReferIt in the refer release (e3bbaa3), by unc and by berkeley: images of SAIAPR TC-12.
    _evaluation_set(
        "refclef", "RefCLEF (unc)", ("val", "testA", "testB", "testC", "testAB", "testBC"), {}, files="unc"
    ),
    _evaluation_set("refclef-berkeley", "RefCLEF (berkeley)", ("val", "test"), {}, folder="refclef", files="berkeley"),
    # ChenyunWu/PhraseCutDataset at 276470b: phrases of several objects in images of Visual Genome.
    _evaluation_set(
        "phrasecut",
        "PhraseCut",
        ("val", "test", "miniv"),
        {
            "train": Counts(310_816, 71_746, 310_816),
            "val": Counts(20_316, 2_971, 20_316),
            "test": Counts(14_354, 2_545, 14_354),
            "miniv": Counts(821, 100, 821),
        },
    ),
):
    EVALUATION_SETS.register(_partition.name, _partition)

PARTITIONS: Registry[Partition] = Registry("dataset")
"""All that have a name everywhere."""
for _partition in (*RELEASES, *EVALUATION_SETS):
    PARTITIONS.register(_partition.name, _partition)
