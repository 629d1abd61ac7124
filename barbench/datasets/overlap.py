"""Which images are both trained on and evaluated on, from the references files alone: `barbench data audit`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from barbench.datasets.refer import Outline, read_outline
from barbench.paper.mixtures import Mixture, Task
from barbench.paper.protocols import Protocol

Outlines = Mapping[str, Sequence[Outline]]
"""What a root's references' files hold, by protocol."""


@dataclass(frozen=True)
class TrainingOverlap:
    """The training set of a task, and how many of its images are evaluated on.

    Attributes:
        task: what is trained.
        references: number of references that train.
        images: number of images that train.
        shared: by (protocol, split), number of images of an evaluation split that are in the training set.
    """

    task: Task
    references: int
    images: int
    shared: Mapping[tuple[str, str], int]


def read_outlines(root: Path, protocols: Iterable[Protocol]) -> dict[str, list[Outline]]:
    """Read the references file of each protocol.

    Args:
        root: a folder in REFER layout.
        protocols: which to read.

    Returns:
        Outlines by the protocol's name.

    Raises:
        MissingData: if a file is absent.
        DataError: if a file is unusable.
    """
    return {protocol.name: read_outline(root, protocol) for protocol in protocols}


def excluded_images(task: Task, outlines: Outlines) -> frozenset[int]:
    """Ids of images that must not train: those of the evaluation splits that a mixture excludes; none for a
    protocol."""
    excluded = task.excluded if isinstance(task, Mixture) else ()
    return frozenset(entry.image_id for p in excluded for entry in outlines[p.name] if entry.split != "train")


def training(task: Task, outlines: Outlines) -> list[Outline]:
    """The references that train, usable or not."""
    excluded = excluded_images(task, outlines)
    return [
        entry
        for protocol in task.members
        for entry in outlines[protocol.name]
        if entry.split == "train" and entry.image_id not in excluded
    ]


def expressions(task: Task, outlines: Outlines) -> int:
    """Number of expressions that the task is evaluated on."""
    splits = {(e.protocol.name, e.split) for e in task.evaluated}
    return sum(entry.sentences for p in task.members for entry in outlines[p.name] if (p.name, entry.split) in splits)


def evaluation_images(protocols: Iterable[Protocol], outlines: Outlines) -> dict[tuple[str, str], frozenset[int]]:
    """Image ids of every evaluation split.

    Args:
        protocols: whose splits.
        outlines: of these protocols at least.

    Returns:
        By (protocol, split).
    """
    return {
        (p.name, split): frozenset(entry.image_id for entry in outlines[p.name] if entry.split == split)
        for p in protocols
        for split in p.evals
    }


def overlaps(tasks: Iterable[Task], protocols: Sequence[Protocol], outlines: Outlines) -> list[TrainingOverlap]:
    """Count the images that training sets share with evaluation splits.

    Args:
        tasks: the training sets.
        protocols: whose evaluation splits are compared.
        outlines: of all protocols that tasks or `protocols` read.

    Returns:
        One entry per task.
    """
    evaluated = evaluation_images(protocols, outlines)
    found = []
    for task in tasks:
        entries = training(task, outlines)
        seen = {entry.image_id for entry in entries}
        shared = {split: len(images & seen) for split, images in evaluated.items()}
        found.append(TrainingOverlap(task, len(entries), len(seen), shared))
    return found
