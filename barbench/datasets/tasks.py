"""The training set and the evaluation splits of a task, and which images they share. Used by `barbench run`."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from barbench.datasets.overlap import excluded_images, read_outlines
from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferData, ReferSplit
from barbench.paper.mixtures import Mixture, Task
from barbench.paper.protocols import Evaluated


@dataclass(frozen=True)
class TaskData:
    """What a task trains and is evaluated on, as read.

    Attributes:
        task: what was asked for.
        train: one split per member.
        evaluated: the evaluation splits with their keys.
        evals: the evaluation splits by key.
        removed_references: number of references that excluding images took out of the members' train splits.
        removed_images: number of images that it took out.
        shared: by key, number of images of an evaluation split that are in the training set too.
    """

    task: Task
    train: tuple[ReferSplit, ...]
    evaluated: tuple[Evaluated, ...]
    evals: dict[str, ReferSplit]
    removed_references: int
    removed_images: int
    shared: dict[str, int]

    @property
    def members(self) -> tuple[ReferData, ...]:
        """The data of each member."""
        return tuple(split.data for split in self.train)


def read_task(root: Path, task: Task, held_out: int = 0) -> TaskData:
    """Read every member of a task and take the excluded images out.

    Args:
        root: a folder in REFER layout.
        task: a protocol or a mixture.
        held_out: percent of the training images that are taken out too and evaluated on, in place of the evaluation
            splits, so that learning rates can be chosen without those. Which images depends on their ids alone.

    Returns:
        Training set and evaluation splits.

    Raises:
        MissingData: if a file is absent.
        DataError: if a file is unusable, or a split has no references.
    """
    members = {p.name: read_refer(root, p) for p in task.members}
    whole = [data.split("train") for data in members.values()]
    excluded = excluded_images(task, read_outlines(root, task.excluded)) if isinstance(task, Mixture) else frozenset()
    train = tuple(
        replace(split, references=tuple(r for r in split.references if r.image_id not in excluded)) for split in whole
    )
    removed = images(*whole) - images(*train)
    lost = sum(len(split.references) for split in whole) - sum(len(split.references) for split in train)
    evaluated = task.evaluated
    evals = {key: members[protocol.name].split(name) for key, protocol, name in evaluated}
    if held_out:
        evaluated = tuple(Evaluated(f"held out {p.name}", p, "train") for p in task.members)
        evals = {e.key: _part(split, lambda i: _held(i, held_out)) for e, split in zip(evaluated, train, strict=True)}
        train = tuple(_part(split, lambda i: not _held(i, held_out)) for split in train)
    seen = images(*train)
    return TaskData(
        task,
        train,
        evaluated,
        evals,
        removed_references=lost,
        removed_images=len(removed),
        shared={key: len(images(split) & seen) for key, split in evals.items()},
    )


def images(*splits: ReferSplit) -> frozenset[int]:
    """Ids of the images that have a reference in one of `splits`."""
    return frozenset(r.image_id for split in splits for r in split.references)


def _part(split: ReferSplit, wanted: Callable[[int], bool]) -> ReferSplit:
    return replace(split, references=tuple(r for r in split.references if wanted(r.image_id)))


def _held(image_id: int, percent: int) -> bool:
    """Whether an image is among the `percent` of all that are held out: the same images for every dataset and seed."""
    return int(hashlib.sha256(str(image_id).encode()).hexdigest(), 16) % 100 < percent
