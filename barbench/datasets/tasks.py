"""The training set and the evaluation splits of a task, and which images they share. Used by `barbench run`."""

from dataclasses import dataclass, replace
from pathlib import Path

from barbench.datasets.overlap import excluded_images, read_outlines
from barbench.datasets.refer import ReferData, ReferSplit, read_refer
from barbench.paper.mixtures import Mixture, Task


@dataclass(frozen=True)
class TaskData:
    """`train` has a split for each member, `evals` one for each key of the task's evaluation splits.

    `removed_...`: what excluding images has taken out of the members' train splits; `shared`: by key, how many of an
    evaluation split's images are in the training set.
    """

    task: Task
    train: tuple[ReferSplit, ...]
    evals: dict[str, ReferSplit]
    removed_references: int
    removed_images: int
    shared: dict[str, int]

    @property
    def members(self) -> tuple[ReferData, ...]:
        return tuple(split.data for split in self.train)


def read_task(root: Path, task: Task) -> TaskData:
    """Reads every member and takes the excluded images out. Raises MissingData and DataError as `read_refer`."""
    members = {p.name: read_refer(root, p) for p in task.members}
    whole = [data.split("train") for data in members.values()]
    excluded = excluded_images(task, read_outlines(root, task.excluded)) if isinstance(task, Mixture) else frozenset()
    train = tuple(
        replace(split, references=tuple(r for r in split.references if r.image_id not in excluded)) for split in whole
    )
    evals = {key: members[protocol.name].split(name) for key, protocol, name in task.evaluated}
    seen, before = images(*train), images(*whole)
    return TaskData(
        task,
        train,
        evals,
        removed_references=sum(len(split.references) for split in whole) - sum(len(s.references) for s in train),
        removed_images=len(before - seen),
        shared={key: len(images(split) & seen) for key, split in evals.items()},
    )


def images(*splits: ReferSplit) -> frozenset[int]:
    """Ids of the images that some reference is of."""
    return frozenset(r.image_id for split in splits for r in split.references)
