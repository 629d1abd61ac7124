"""A data set as a run uses it: what trains, what is evaluated, and how its files are read. Resolved once, then carried.

    resolve_dataset("mixed", root, context_length=40, exif="apply")

A data set of your own: `barbench run --dataset mine --data ROOT` reads `ROOT/mine/protocol.yaml`.

    title: My objects            # for people; optional, the folder's name
    refs: refs(own).p            # references, a REFER pickle or its list as JSON; optional
    instances: instances.json    # images and annotations in COCO's format; optional
    splits: [val, test]          # evaluation splits; `train` trains
    context_length: 22           # tokens of an expression, start and end included; optional
    exif: stored                 # or apply: the masks were drawn on images turned as their EXIF says; optional

Images lie in `ROOT/images/train2014`, as those of all data sets do. `barbench data import TABLE ROOT` writes all three
files.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from barbench.errors import DataError, UnknownName, UsageError
from barbench.paper.mixtures import MIXTURES, Mixture
from barbench.paper.partitions import PARTITIONS, Exif, Partition
from barbench.registry import Registry
from barbench.spec.text import explain
from barbench.values import read_yaml

OWN_FILE = "protocol.yaml"
OWN_REFS, OWN_CONTEXT_LENGTH = "refs(own).p", 22
_NAME = re.compile(r"\w[\w.+-]*", re.ASCII)


class EvaluationSplit(NamedTuple):
    """An evaluation split, and the `key` that it has in a record."""

    key: str
    partition: Partition
    split: str


class Dataset(BaseModel):
    """What a cell is trained and evaluated on: one data set, or a mixture of several.

    Attributes:
        name: as on the command line.
        title: for people.
        members: what trains and is evaluated, with files, splits and how images are read.
        excluded: partitions whose evaluation images are left out of training; () for a single data set.
        context_length: in tokens, start and end of text included.
        suffix: what a mixture adds to the label of a row.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    members: tuple[Partition, ...]
    excluded: tuple[Partition, ...] = ()
    context_length: int
    suffix: str = ""

    @classmethod
    def of(cls, partition: Partition) -> Self:
        """The data set of a single partition."""
        return cls(
            name=partition.name,
            title=partition.title,
            members=(partition,),
            context_length=partition.context_length,
        )

    @classmethod
    def mixed(cls, mixture: Mixture) -> Self:
        """The data set of a mixture."""
        return cls(
            name=mixture.name,
            title=mixture.title,
            members=mixture.members,
            excluded=mixture.excluded,
            context_length=mixture.context_length,
            suffix=mixture.suffix,
        )

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """All whose files are read, each once."""
        return tuple(dict.fromkeys((*self.members, *self.excluded)))

    @property
    def evaluation_splits(self) -> tuple[EvaluationSplit, ...]:
        """The evaluation splits of all members; in a mixture, a key begins with the member's name."""
        splits = []
        for member in self.members:
            for split in member.eval_splits:
                key = f"{member.name} {split}" if self.is_mixture else split
                splits.append(EvaluationSplit(key, member, split))
        return tuple(splits)

    @property
    def trains(self) -> bool:
        """Whether it has a training set; others only evaluate."""
        return all(member.trains for member in self.members)

    @property
    def is_mixture(self) -> bool:
        """Whether several data sets train."""
        return len(self.members) > 1

    @property
    def mixing(self) -> Literal["none", "clean", "leaked"]:
        """Whether several train and, if so, without the images that are evaluated on (`clean`) or with them."""
        if not self.is_mixture:
            return "none"
        return "clean" if self.excluded else "leaked"

    @property
    def exif(self) -> Exif:
        """How images are read."""
        return self.members[0].exif

    @property
    def allows_no_target(self) -> bool:
        """Whether an expression may mean several objects, or none."""
        return any(member.allows_no_target for member in self.members)

    @property
    def is_own(self) -> bool:
        """Whether it is described by a file beside the data."""
        return self.name not in DATASETS

    @property
    def changed_context(self) -> int | None:
        """The context length as a cell stores it: None where it is the one that the name implies."""
        if not self.is_own and DATASETS.get(self.name).context_length == self.context_length:
            return None
        return self.context_length

    def with_exif(self, exif: Exif) -> Self:
        """The same data set, whose images are read as `exif` says."""
        members = tuple(replace(member, exif=exif) for member in self.members)
        excluded = tuple(replace(partition, exif=exif) for partition in self.excluded)
        return self.model_copy(update={"members": members, "excluded": excluded})


DATASETS: Registry[Dataset] = Registry("dataset")
"""All that have a name everywhere: the public data sets, then the mixtures."""
for _partition in PARTITIONS:
    DATASETS.register(_partition.name, Dataset.of(_partition))
for _mixture in MIXTURES:
    DATASETS.register(_mixture.name, Dataset.mixed(_mixture))


def resolve_dataset(name: str, root: Path | None, context_length: int | None = None, exif: Exif = "stored") -> Dataset:
    """Look up what a cell is trained and evaluated on.

    Args:
        name: of a public data set or a mixture, or of a folder of `root` with a `protocol.yaml`.
        root: the data; None for the shapes, which have no data set of your own.
        context_length: in tokens, in place of the data set's own.
        exif: whether images are read as stored, or turned as their EXIF orientation says.

    Returns:
        The data set.

    Raises:
        UnknownName: if there is no such name.
        DataError: if the folder's file cannot be used.
    """
    # A data set of the user's own lies beside the public ones, whose names it cannot take.
    own_file = None
    if name not in DATASETS and root is not None and _NAME.fullmatch(name):
        own_file = root / name / OWN_FILE
    if own_file is not None and own_file.is_file():
        dataset = Dataset.of(_read_own(own_file, name))
    else:
        dataset = DATASETS.get(name)
    # What the run asks for in place of what the data set has.
    if exif == "apply":
        dataset = dataset.with_exif(exif)
    if context_length is not None:
        dataset = dataset.model_copy(update={"context_length": context_length})
    return dataset


def own_partition(
    name: str,
    eval_splits: tuple[str, ...],
    *,
    title: str | None = None,
    refs_file: str = OWN_REFS,
    instances_file: str = "instances.json",
    context_length: int = OWN_CONTEXT_LENGTH,
) -> Partition:
    """A data set of your own.

    Args:
        name: of the data set and of its folder.
        eval_splits: without train.
        title: for tables; None: the name.
        refs_file: name of the references file in the folder.
        instances_file: name of the annotations file in the folder.
        context_length: tokens of an expression, start and end included.

    Returns:
        The facts of its files.

    Raises:
        UsageError: if it cannot have that name.
    """
    if not _NAME.fullmatch(name) or name in DATASETS:
        raise UsageError(f"{name!r} cannot be the name of your own data set: letters, digits and . + - _")
    if title is None:
        title = name
    return Partition(
        name=name,
        folder=name,
        refs_file=refs_file,
        eval_splits=eval_splits,
        context_length=context_length,
        title=title,
        paper_name=title,
        divided_by="own",
        columns={split: split for split in eval_splits},
        counts={},
        instances_file=instances_file,
    )


def _check_file_name(value: str) -> str:
    if value != Path(value).name:
        raise ValueError(f"{value!r} is not the name of a file in the same folder")
    return value


def _check_eval_splits(splits: list[str]) -> list[str]:
    if not splits or "train" in splits or len(set(splits)) < len(splits):
        raise ValueError("name the evaluation splits, each once and without train")
    return splits


_FileName = Annotated[str, AfterValidator(_check_file_name)]


class _OwnFile(BaseModel):
    """The contents of a `protocol.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str | None = None
    refs: _FileName = OWN_REFS
    instances: _FileName = "instances.json"
    splits: Annotated[list[str], AfterValidator(_check_eval_splits)]
    context_length: int = Field(default=OWN_CONTEXT_LENGTH, ge=3, description="start, a word, end at least")
    exif: Exif = "stored"


def _read_own(path: Path, name: str) -> Partition:
    """Read `protocol.yaml`; DataError names the file and every mistake in it."""
    try:
        content = read_yaml(path.read_text("utf-8"))
        # A key that is unknown is answered with the nearest ones, which pydantic cannot.
        if isinstance(content, dict):
            for key in content:
                if key not in _OwnFile.model_fields:
                    raise UnknownName("key", str(key), _OwnFile.model_fields)
        own = _OwnFile.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{path} does not describe a data set: {explain(error)}") from error
    except (OSError, ValueError, UnknownName) as error:
        raise DataError(f"{path} does not describe a data set: {error}") from error
    partition = own_partition(
        name,
        tuple(own.splits),
        title=own.title,
        refs_file=own.refs,
        instances_file=own.instances,
        context_length=own.context_length,
    )
    return replace(partition, exif=own.exif)
