"""Data sets of one's own: `barbench run --split mine --data ROOT` reads `ROOT/mine/protocol.yaml`.

    title: My objects            # for people; optional, the folder's name
    refs: refs(own).p            # references, a REFER pickle or its list as JSON; optional
    instances: instances.json    # images and annotations in COCO's format; optional
    splits: [val, test]          # evaluation splits; `train` trains
    context_length: 22           # tokens of an expression, start and end included; optional

Images lie in `ROOT/images/train2014`, as those of all data sets do. `barbench data import TABLE ROOT` writes all three
files.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from barbench.errors import DataError, UnknownName, UsageError
from barbench.files import write_atomically
from barbench.paper.mixtures import APPLY, STORED, TASKS, Exif, Task, turned
from barbench.paper.protocols import Protocol
from barbench.values import listed, read_key, read_yaml, text, whole

FILE = "protocol.yaml"
REFS, WORDS = "refs(own).p", 22
NAME = re.compile(r"\w[\w.+-]*", re.ASCII)
KEYS = ("title", "refs", "instances", "splits", "context_length")


def own_protocol(name: str, evals: tuple[str, ...], **fields: Any) -> Protocol:
    """A data set of one's own.

    Args:
        name: of its folder, too.
        evals: names of its evaluation splits.
        **fields: other fields of Protocol.

    Returns:
        A protocol without sizes to compare with.

    Raises:
        UsageError: if the name cannot be one.
    """
    if not NAME.fullmatch(name) or name in TASKS:
        raise UsageError(f"{name!r} cannot be the name of a data set of one's own: letters, digits and . + - _")
    fields = {"title": name, "refs_file": REFS, "words": WORDS} | fields
    columns = {split: split for split in evals}
    given: dict[str, Any] = {"columns": columns, "counts": {}, "dataset": fields["title"], **fields}
    return Protocol(name=name, folder=name, evals=evals, partition="own", **given)


def find_task(name: str, root: Path | None, words: int | None = None, exif: Exif = STORED) -> Task:
    """Look up what a cell is trained and evaluated on.

    Args:
        name: of a protocol or a mixture, or of a folder of `root` with a `protocol.yaml`.
        root: the data; None for the shapes, which have no data of one's own.
        words: context length in tokens, in place of the task's own.
        exif: whether images are read as stored, or turned as their EXIF orientation says.

    Returns:
        The task.

    Raises:
        UnknownName: if there is no such name.
        DataError: if the folder's file cannot be used.
    """
    if name in TASKS or root is None or not NAME.fullmatch(name) or not (root / name / FILE).is_file():
        task: Task = TASKS.get(name)
    else:
        task = _read(root / name / FILE, name)
    if exif == APPLY:
        task = turned(task)
    return task if words is None else replace(task, words=words)


def own_names(root: Path) -> list[str]:
    """Names of the data sets of one's own.

    Args:
        root: of the data.

    Returns:
        Folders with a `protocol.yaml`, in order.
    """
    return sorted(path.parent.name for path in root.glob(f"*/{FILE}"))


def write_own(root: Path, protocol: Protocol) -> None:
    """Write the file of a data set of one's own.

    Args:
        root: of the data.
        protocol: made by `own_protocol`.
    """
    fields = {
        "title": protocol.title,
        "refs": protocol.refs_file,
        "instances": protocol.instances_file,
        "splits": list(protocol.evals),
        "context_length": protocol.words,
    }
    content = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    write_atomically(root / protocol.folder / FILE, content.encode())


def _read(path: Path, name: str) -> Protocol:
    try:
        raw = read_yaml(path.read_text("utf-8"))
        evals = tuple(map(text, read_key(raw, "splits", listed)))
        if unknown := [key for key in raw if key not in KEYS]:
            raise UnknownName("key", str(unknown[0]), KEYS)
        if not evals or "train" in evals or len(set(evals)) < len(evals):
            raise ValueError("'splits' names the evaluation splits, each once and without train")
        fields = {
            field: read_key(raw, key, read)
            for key, field, read in (
                ("title", "title", text),
                ("refs", "refs_file", _file),
                ("instances", "instances_file", _file),
                ("context_length", "words", _words),
            )
            if key in raw
        }
        return own_protocol(name, evals, **fields)
    except (OSError, ValueError, UnknownName) as error:
        raise DataError(f"{path} does not describe a data set: {error}") from error


def _file(value: Any) -> str:
    """A file name; ValueError for a path that leads elsewhere."""
    if not isinstance(value, str) or value != Path(value).name:
        raise ValueError(f"{value!r} is not the name of a file in the same folder")
    return value


def _words(value: Any) -> int:
    length = whole(value)
    if length < 3:
        raise ValueError("a context has at least 3 tokens: start, a word, end")
    return length
