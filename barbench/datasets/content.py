"""The training set and the evaluation splits of a data set, and which images they share. Used by `barbench run`."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from barbench.datasets.overlap import excluded_images, read_outlines
from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferData, ReferSplit
from barbench.datasets.subset import Chosen, chosen_images, chosen_of
from barbench.errors import UsageError
from barbench.spec.dataset import Dataset, EvaluationSplit


@dataclass(frozen=True)
class DatasetContent:
    """What a data set trains and is evaluated on, as read.

    Attributes:
        dataset: what was asked for.
        train: one split per member; none of a data set that only evaluates.
        members: the data of each member.
        evaluation_splits: with their keys.
        evals: the evaluation splits by key.
        removed_references: number of references that excluding images took out of the members' train splits.
        removed_images: number of images that it took out.
        shared: by key, number of images of an evaluation split that are in the training set too.
        chosen: by key, what a limit left of an evaluation split; empty without a limit.
        chosen_train: the same of the training set; None without a limit.
    """

    dataset: Dataset
    train: tuple[ReferSplit, ...]
    members: tuple[ReferData, ...]
    evaluation_splits: tuple[EvaluationSplit, ...]
    evals: dict[str, ReferSplit]
    removed_references: int
    removed_images: int
    shared: dict[str, int]
    chosen: dict[str, Chosen]
    chosen_train: Chosen | None


def read_dataset(
    root: Path, dataset: Dataset, held_out: int = 0, limit: int | None = None, limit_train: int | None = None
) -> DatasetContent:
    """Read every member of a data set and take the excluded images out.

    Args:
        root: a folder in REFER layout.
        dataset: what to read.
        held_out: percent of the training images that are taken out too and evaluated on, in place of the evaluation
            splits, so that learning rates can be chosen without those. Which images depends on their ids alone, and
            an image of an evaluation split is never among them: it trains as it does otherwise.
        limit: number of images of each evaluation split, chosen by `chosen_images`; None for all.
        limit_train: the same of the training set, of what all else has left.

    Returns:
        Training set and evaluation splits.

    Raises:
        MissingData: if a file is absent.
        DataError: if a file is unusable, or a split has no references.
    """
    members = {member.name: read_refer(root, member) for member in dataset.members}

    # A clean mixture does not train on images that any of its data sets evaluates.
    excluded = excluded_images(dataset, read_outlines(root, dataset.excluded))
    whole = [data.split("train") for data in members.values() if data.partition.trains]
    train = [only(split, images([split]) - excluded) for split in whole]
    removed_images = images(whole) - images(train)
    removed_references = _count(whole) - _count(train)

    # What is evaluated: a part of the training set in place of the evaluation splits, where a part is held out.
    evals: dict[str, ReferSplit] = {}
    if held_out:
        evaluation_splits = tuple(
            EvaluationSplit(f"held out {member.name}", member, "train") for member in dataset.members
        )
        of_dataset = [members[partition.name].split(name) for _, partition, name in dataset.evaluation_splits]
        evaluated = images(of_dataset)
        judges = {image_id for image_id in images(train) - evaluated if _share(image_id) < held_out}
        for evaluation, split in zip(evaluation_splits, train, strict=True):
            evals[evaluation.key] = only(split, judges)
        train = [only(split, images([split]) - judges) for split in train]
    else:
        evaluation_splits = dataset.evaluation_splits
        for key, partition, name in evaluation_splits:
            evals[key] = members[partition.name].split(name)

    # The limits come last: they choose among what would train and be evaluated without them.
    chosen_train = None
    if limit_train is not None:
        whole_train = images(train)
        kept = chosen_images(whole_train, dataset.name, "train", limit_train)
        train = [only(split, kept) for split in train]
        chosen_train = chosen_of(whole_train, kept)
    chosen: dict[str, Chosen] = {}
    if limit is not None:
        for key, partition, name in evaluation_splits:
            whole_split = images([evals[key]])
            kept = chosen_images(whole_split, partition.name, name, limit)
            evals[key] = only(evals[key], kept)
            chosen[key] = chosen_of(whole_split, kept)

    trained = images(train)
    return DatasetContent(
        dataset,
        tuple(train),
        tuple(members.values()),
        evaluation_splits,
        evals,
        removed_references=removed_references,
        removed_images=len(removed_images),
        shared={key: len(images([split]) & trained) for key, split in evals.items()},
        chosen=chosen,
        chosen_train=chosen_train,
    )


def check_held_out(content: DatasetContent, held_out: int) -> None:
    """Refuse a share of the training images that leaves nothing to judge by, or nothing to train on.

    Args:
        content: as divided.
        held_out: percent of the training images.

    Raises:
        UsageError: that says the smallest share that does, where there is one.
    """
    for split, judge in zip(content.train, content.evals.values(), strict=True):
        title = split.data.partition.name
        if not split.references:
            raise UsageError(f"--held-out {held_out} leaves {title} no image to train on; hold out fewer")
        if judge.references:
            continue
        # Nothing is held out: which share would hold something out?
        trained = images([split])
        evaluated = {r.image_id for r in split.data.references if r.split != "train"}
        shares = [_share(image_id) + 1 for image_id in trained - evaluated]
        advice = "all of them are in its evaluation splits, too"
        if shares:
            advice = f"use --held-out {min(shares)}"
        raise UsageError(
            f"--held-out {held_out} holds out none of the {len(trained):,} training images of {title}; {advice}"
        )


def images(splits: Sequence[ReferSplit]) -> frozenset[int]:
    """Ids of the images that have a reference in one of `splits`."""
    found: set[int] = set()
    for split in splits:
        found.update(reference.image_id for reference in split.references)
    return frozenset(found)


def only(split: ReferSplit, image_ids: Collection[int]) -> ReferSplit:
    """The references of a split that are of these images."""
    kept = tuple(reference for reference in split.references if reference.image_id in image_ids)
    return replace(split, references=kept)


def _count(splits: Sequence[ReferSplit]) -> int:
    return sum(len(split.references) for split in splits)


def _share(image_id: int) -> int:
    """The percentage above which an image is held out, 0 to 99, evenly over images: for every data set and seed."""
    digest = hashlib.sha256(str(image_id).encode()).hexdigest()
    return int(digest, 16) % 100
