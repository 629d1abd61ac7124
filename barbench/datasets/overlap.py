"""Which images are both trained on and evaluated on, from the references files alone: `barbench data audit`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from barbench.datasets.refer import Outline, read_outline
from barbench.paper.partitions import Partition
from barbench.spec.dataset import Dataset

Outlines = Mapping[str, Sequence[Outline]]
"""What the references files of a root hold, by the partition's name."""


@dataclass(frozen=True)
class TrainingOverlap:
    """The training set of a data set, and how many of its images are evaluated on.

    Attributes:
        shared: by (partition, split), number of images of an evaluation split that are in the training set.
    """

    dataset: Dataset
    references: int
    images: int
    shared: Mapping[tuple[str, str], int]


def read_outlines(root: Path, partitions: Iterable[Partition]) -> dict[str, list[Outline]]:
    """Read the references file of each partition under `root`, by the partition's name."""
    return {partition.name: read_outline(root, partition) for partition in partitions}


def excluded_images(dataset: Dataset, outlines: Outlines) -> frozenset[int]:
    """Ids of images that must not train: those of the evaluation splits that a clean mixture excludes, else none."""
    excluded: set[int] = set()
    for partition in dataset.excluded:
        excluded.update(entry.image_id for entry in outlines[partition.name] if entry.split != "train")
    return frozenset(excluded)


def training(dataset: Dataset, outlines: Outlines) -> list[Outline]:
    """The references that train, usable or not."""
    excluded = excluded_images(dataset, outlines)
    entries: list[Outline] = []
    for member in dataset.members:
        for entry in outlines[member.name]:
            if entry.split == "train" and entry.image_id not in excluded:
                entries.append(entry)
    return entries


def evaluation_images(partitions: Iterable[Partition], outlines: Outlines) -> dict[tuple[str, str], frozenset[int]]:
    """Image ids of every evaluation split, by (partition, split)."""
    found: dict[tuple[str, str], frozenset[int]] = {}
    for partition in partitions:
        for split in partition.eval_splits:
            entries = [entry for entry in outlines[partition.name] if entry.split == split]
            found[partition.name, split] = frozenset(entry.image_id for entry in entries)
    return found


def overlaps(datasets: Iterable[Dataset], partitions: Sequence[Partition], outlines: Outlines) -> list[TrainingOverlap]:
    """Count the images that training sets share with evaluation splits."""
    evaluated = evaluation_images(partitions, outlines)
    found = []
    for dataset in datasets:
        entries = training(dataset, outlines)
        trained = {entry.image_id for entry in entries}
        shared = {split: len(images & trained) for split, images in evaluated.items()}
        found.append(TrainingOverlap(dataset, len(entries), len(trained), shared))
    return found
