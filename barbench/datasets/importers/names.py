"""Which data set and which split a file belongs to, from the names that people give. Used by `datasets.importers`."""

import re
from pathlib import Path
from typing import Literal

from barbench.errors import UsageError
from barbench.paper.partitions import PARTITIONS, Partition

SourceFormat = Literal[
    "zip", "parquet", "lmdb", "masks", "mdetr", "table",
    "arefcoco", "refcocog-adv", "absent", "refclef", "phrasecut",
]  # fmt: skip
"""What `barbench data import --form` takes. It is here because the command line must not import the readers."""

# What a part of a path says, most special first: CRIS writes refcocog_u, MDETR finetune_refcoco+_val, others refcocop.
PATTERNS = (
    ("arefcoco", r"(?<![a-z])arefcoco(?![a-z])"),
    ("r-refcoco+", r"(?<![a-z])r-?refcoco(\+|[-_]?p(lus)?(?![a-z]))"),
    ("r-refcocog", r"(?<![a-z])r-?refcocog(?![a-z])"),
    ("r-refcoco", r"(?<![a-z])r-?refcoco(?![a-z+])"),
    ("ref-zom", r"(?<![a-z])ref[-_]?zom(?![a-z])"),
    ("phrasecut", r"phrasecut"),
    ("refclef-berkeley", r"refclef.*berkeley|refs\(berkeley\)"),
    ("refclef", r"(?<![a-z])refclef(?![a-z])"),
    ("refcoco-m", r"(?<![a-z])refcoco[-_]m(?![a-z])"),
    ("refcocog-adv", r"(?<![a-z])refcocog[-_]adv(?![a-z])"),
    ("grefcoco", r"(?<![a-z])grefcoco(?![a-z])"),
    ("refcocog-g", r"(?<![a-z])refcoco[-_]?g[-_]?(g(oogle)?)(?![a-z])"),
    ("refcocog-u", r"(?<![a-z])refcoco[-_]?g[-_]?(u(md)?)?(?![a-z])"),
    ("refcoco+", r"(?<![a-z])refcoco(\+|[-_]?p(lus)?(?![a-z]))"),
    ("refcoco", r"(?<![a-z])refcoco(?![a-z+])"),
)
SPLITS = {"validation": "val", "testa": "testA", "testb": "testB"}


def named_dataset(path: Path) -> str | None:
    """The data set that a path names, None where it names none; the part next to its end counts.

    >>> named_dataset(Path("datasets/anns/refcocog_u/train.json"))
    'refcocog-u'
    >>> named_dataset(Path("finetune_refcoco+_val.json"))
    'refcoco+'
    """
    for part in reversed(path.parts):
        for name, pattern in PATTERNS:
            if re.search(pattern, part.lower()):
                return name
    return None


def partition_of(path: Path, wanted: str | None) -> Partition:
    """The partition that was asked for by name, else the one that a path names; UnknownName for a name that is none,
    UsageError where the path names none."""
    name = wanted or named_dataset(path)
    if name is None:
        raise UsageError(
            f"which data set is {path}? Its path does not say; name it with --dataset, as in --dataset refcoco"
        )
    return PARTITIONS.get(name)


def split_name(text: str) -> str:
    """A split as the public release names it; a name that is not known stays as it is.

    >>> [split_name(name) for name in ("validation", "train", "TestA")]
    ['val', 'train', 'testA']
    """
    return SPLITS.get(text.lower(), text)


def known_split(text: str, partition: Partition) -> str | None:
    """The split of `partition` that a source means, or None where the partition has none such.

    Copies of RefCOCO and RefCOCO+ call testA `test`; which of them do so is the importer's affair.
    """
    name = split_name(text)
    return name if name in partition.splits else None


def found_files(source: Path, *patterns: str) -> list[Path]:
    """The files under a folder that match a pattern of `Path.rglob`, in order, without hidden ones; a file itself where
    it matches."""
    if source.is_file():
        return [source] if any(source.match(pattern) for pattern in patterns) else []
    found: set[Path] = set()
    for pattern in patterns:
        found.update(source.rglob(pattern))
    return sorted(path for path in found if not path.name.startswith(".") and "__MACOSX" not in path.parts)
