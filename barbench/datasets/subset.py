"""Which images `--limit` and `--limit-train` leave: chosen by a hash of their ids, so that they are the same images on
any machine, with any seed, in any order of the files, and a smaller subset lies within a larger one."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from barbench.datasets.overlap import Outlines, evaluation_images, training
from barbench.spec.dataset import Dataset

_SALT = "barbench-subset-v1"
"""Belongs to the scheme sha256-v1 of a cell's subset."""


class Chosen(NamedTuple):
    """What a limit left of a set of images: how many there were, and SHA-256 of the ids that are left, sorted, with
    commas between them."""

    images: int
    digest: str


class ImageCounts(NamedTuple):
    """How many images a data set has: in its training set, and by key in each of its evaluation splits."""

    train: int
    evaluate: dict[str, int]


def chosen_images(images: Iterable[int], dataset: str, split: str, count: int) -> frozenset[int]:
    """The ids of the `count` images whose ids have the smallest hashes, other ones for each data set and split; all
    where there are no more. One image more among `images` changes at most one of them."""

    def rank(image_id: int) -> bytes:
        return hashlib.sha256(f"{_SALT}:{dataset}:{split}:{image_id}".encode()).digest()

    return frozenset(sorted(set(images), key=rank)[:count])


def chosen_of(whole: frozenset[int], left: frozenset[int]) -> Chosen:
    """What is kept of a choice: `left` of the image ids `whole`."""
    ids = ",".join(map(str, sorted(left)))
    return Chosen(len(whole), hashlib.sha256(ids.encode()).hexdigest())


def image_counts(dataset: Dataset, outlines: Outlines) -> ImageCounts:
    """Count the images of a data set, from the references files of its partitions alone."""
    trained = {entry.image_id for entry in training(dataset, outlines)}
    images = evaluation_images(dataset.members, outlines)
    evaluate = {}
    for key, partition, split in dataset.evaluation_splits:
        evaluate[key] = len(images[partition.name, split])
    return ImageCounts(len(trained), evaluate)


def expressions(dataset: Dataset, outlines: Outlines, limit: int | None = None) -> int:
    """Number of expressions that a data set is evaluated on, or those of `limit` images of each evaluation split."""
    count = 0
    for _, partition, split in dataset.evaluation_splits:
        entries = [entry for entry in outlines[partition.name] if entry.split == split]
        if limit is not None:
            kept = chosen_images([entry.image_id for entry in entries], partition.name, split, limit)
            entries = [entry for entry in entries if entry.image_id in kept]
        count += sum(entry.sentences for entry in entries)
    return count
