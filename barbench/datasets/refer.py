"""Reads a REFER folder: references, sentences, images, masks. `barbench data verify ROOT` checks one."""

import gc
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from barbench.datasets import masks
from barbench.datasets.pickles import load_plain, repair_text
from barbench.datasets.problems import Problems
from barbench.datasets.untrusted import image_size, shown, text, whole
from barbench.errors import DataError, MissingData
from barbench.paper.protocols import Protocol

T = TypeVar("T")

IMAGE_FOLDERS = ("images/train2014", "images/mscoco/images/train2014")
LAYOUT = """The layout is the public one (the .p files and instances.json of the REFER release, the images of COCO):
  ROOT/
    refcoco/   refs(unc).p  instances.json
    refcoco+/  refs(unc).p  instances.json
    refcocog/  refs(umd).p  refs(google).p  instances.json
    images/train2014/COCO_train2014_*.jpg     (or images/mscoco/images/train2014/)"""


class Sentence(NamedTuple):
    sent_id: int
    text: str


class Reference(NamedTuple):
    """One object of an image and the sentences that refer to it."""

    ref_id: int
    ann_id: int
    image_id: int
    category: str
    split: str
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True)
class ImageInfo:
    image_id: int
    path: Path
    width: int
    height: int


@dataclass(frozen=True)
class Annotation:
    """The mask of one object, as a canonical code: equal masks of an image have equal codes. `area`: pixels inside."""

    ann_id: int
    image_id: int
    rle: masks.Rle
    area: int


@dataclass(frozen=True)
class ReferData:
    """All splits of one protocol. Only images and annotations that some reference uses are held."""

    root: Path
    protocol: Protocol
    references: tuple[Reference, ...]
    images: dict[int, ImageInfo]
    annotations: dict[int, Annotation]
    problems: Problems = field(default_factory=Problems)

    def split(self, name: str) -> "ReferSplit":
        """The references of split `name`, in the file's order; DataError where there are none."""
        chosen = tuple(r for r in self.references if r.split == name)
        if not chosen:
            held = ", ".join(sorted({r.split for r in self.references})) or "none at all"
            raise DataError(
                f"{self.root / self.protocol.folder / self.protocol.refs_file} has no references of split {name!r}; it "
                f"holds {held}. (Some copies call testA 'test': they are not the public release.)"
            )
        return ReferSplit(name, chosen, self)

    def mask(self, ann_id: int) -> masks.Mask:
        """uint8 (H, W) in the image's own resolution, 1 inside; decoded at each call."""
        return self.annotations[ann_id].rle.decode()


@dataclass(frozen=True)
class ReferSplit:
    name: str
    references: tuple[Reference, ...]
    data: ReferData


def read_refer(root: Path, protocol: Protocol) -> ReferData:
    """The data of `protocol` under `root`. References that cannot be used are left out and named in `.problems`.

    Raises MissingData (which file, where, the layout) where a file is absent, DataError where one is unusable.
    """
    with _collector_at_rest():
        return _read(root, protocol)


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Half a million objects are made, all of them kept: looking through them for garbage doubles the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _read(root: Path, protocol: Protocol) -> ReferData:
    refs_path, instances_path = data_files(root, protocol)
    problems = Problems()
    instances = _read_instances(instances_path)
    references = _references(refs_path, lambda raw: _reference(raw, instances.categories))
    kept = tuple(r for r in references if _usable(r, instances, problems))
    images = _images(root, instances_path, {r.image_id: instances.images[r.image_id] for r in kept})
    annotations: dict[int, Annotation] = {}
    for reference in kept:
        if reference.ann_id not in annotations:
            image, entry = images[reference.image_id], instances.annotations[reference.ann_id]
            annotations[reference.ann_id] = _annotation(entry, image, instances_path, problems)
        if annotations[reference.ann_id].area == 0:
            problems.note("empty mask", f"{reference.split} reference {reference.ref_id}")
    return ReferData(root, protocol, kept, images, annotations, problems)


class Outline(NamedTuple):
    """A reference as the references' file alone tells it, whether it can be used or not."""

    split: str
    image_id: int
    sentences: int


def read_outline(root: Path, protocol: Protocol) -> list[Outline]:
    """Every entry of the references' file; in a second where `read_refer` takes many. Raises as `read_refer`."""
    return _references(
        data_files(root, protocol)[0],
        lambda r: Outline(_value(r, "split", text), _value(r, "image_id", whole), len(_value(r, "sentences", _list))),
    )


def data_files(root: Path, protocol: Protocol) -> tuple[Path, Path]:
    """The references' and the instances' file of `protocol`; MissingData with the layout where one is absent."""
    files = root / protocol.folder / protocol.refs_file, root / protocol.folder / "instances.json"
    for path in files:
        if not path.is_file():
            raise MissingData(f"no {path.name} for {protocol.name}: looked for {path}.\n{LAYOUT}")
    return files


def decode_image(info: ImageInfo) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB as stored, without EXIF rotation (masks are drawn on the stored pixels); gray becomes RGB.

    Raises DataError naming the file where it is absent, unreadable, truncated, neither JPEG nor PNG, or not of the size
    that the annotations were drawn on, which is looked up before any pixel is decoded.
    """
    try:
        data = info.path.read_bytes()
    except OSError as error:
        raise DataError(f"{info.path} cannot be read: {error.strerror or error}") from error
    # Some OpenCV versions fill what a cut JPEG lacks with gray and say nothing. A whole one ends its last scan.
    if data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise DataError(f"{info.path} is truncated: its last JPEG scan has no end")
    try:
        width, height = _stored_size(data)
        if (width, height) != (info.width, info.height):
            raise DataError(
                f"{info.path} has {width}x{height} pixels, instances.json says {info.width}x{info.height}"
                f"{_turned(data, info)}"
            )
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        rgb = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except (cv2.error, ValueError) as error:
        raise DataError(f"{info.path} is not a readable image ({len(data)} bytes): {error}") from error
    if rgb is None or rgb.shape != (height, width, 3):
        raise DataError(f"{info.path} is not a readable image ({len(data)} bytes)")
    return np.asarray(rgb, dtype=np.uint8)


def _stored_size(data: bytes) -> tuple[int, int]:
    """Width and height that a JPEG's or PNG's header gives; ValueError for anything else. Decodes nothing."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as header:
            return header.size
    except Exception as error:  # Pillow's parsers raise nearly anything: OSError, SyntaxError, struct.error, ...
        raise ValueError("neither a JPEG nor a PNG begins in it") from error


def _turned(data: bytes, info: ImageInfo) -> str:
    """What to add to a size that does not fit: whether the EXIF tag that turns the image explains it."""
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as header:
        turns = header.getexif().get(0x0112) in (5, 6, 7, 8)
        explained = turns and header.size == (info.height, info.width)
    if not explained:
        return ""
    return ": its EXIF orientation turns it, and the annotations were drawn on the turned image; store it turned"


@dataclass(frozen=True)
class _Instances:
    images: dict[int, dict[str, Any]]
    annotations: dict[int, dict[str, Any]]
    categories: dict[int, str]


def _read_instances(path: Path) -> _Instances:
    try:
        raw = json.loads(path.read_bytes())
        images, annotations = (_table(raw, kind) for kind in ("images", "annotations"))
        names = _entries(
            raw.get("categories", []), "categories", lambda c: (_value(c, "id", whole), _value(c, "name", text))
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is not a COCO instances file: {_describe(error)}") from error
    for kind, table in (("images", images), ("annotations", annotations)):
        if len(table) < len(raw[kind]):
            twice = [i for i, n in Counter(whole(entry["id"]) for entry in raw[kind]).items() if n > 1]
            raise DataError(f"{path}: {len(twice)} ids occur twice among its {kind}, the first is {twice[0]}")
    return _Instances(images, annotations, dict(names))


def _table(raw: Any, kind: str) -> dict[int, dict[str, Any]]:
    """The entries of a list of instances.json by their id; ids of annotations' images are whole numbers afterwards."""

    def read(entry: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        number = _value(entry, "id", whole)
        if "image_id" in entry and type(entry["image_id"]) is not int:
            entry = {**entry, "image_id": _value(entry, "image_id", whole)}
        return number, entry

    return dict(_entries(raw[kind], kind, read))


def _entries(values: Any, kind: str, read: Callable[[dict[str, Any]], T]) -> list[T]:
    """What `read` makes of each of `values`; ValueError says which entry (counted from 0) and what is wrong there."""
    made: list[T] = []
    for number, entry in enumerate(_list(values)):
        try:
            made.append(read(entry))
        except ValueError as error:
            raise ValueError(f"entry {number} of its {kind}: {error}") from error
    return made


def _value(entry: Any, key: str, read: Callable[[Any], T]) -> T:
    """The one way to a value of an entry: `read` of what is under `key`; ValueError names the key."""
    if not isinstance(entry, dict):
        raise ValueError(f"{shown(entry)} stands where an entry with the key {key!r} belongs")
    if key not in entry:
        raise ValueError(f"it lacks the key {key!r}")
    try:
        return read(entry[key])
    except ValueError as error:
        raise ValueError(f"{key!r}: {error}") from error


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} is no list")
    return list(value)


def _references(path: Path, read: Callable[[dict[str, Any]], T]) -> list[T]:
    """What `read` makes of each entry of a refs file; DataError where the file or an entry is unusable."""
    try:
        raw = load_plain(path)
        if not isinstance(raw, list):
            raise TypeError(f"it is a {type(raw).__name__}, not a list")
        return _entries(raw, "references", read)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} does not hold REFER references: {_describe(error)}") from error


def _reference(raw: dict[str, Any], categories: dict[int, str]) -> Reference:
    """One entry of the refs file. Its `file_name` is not used: it can carry an annotation's suffix."""
    category = _value(raw, "category_id", whole)
    if isinstance(raw.get("ann_id"), list | tuple):
        raise ValueError(
            "'ann_id': a list of targets, as gRefCOCO has them; this protocol has one target per reference"
        )
    return Reference(
        ref_id=_value(raw, "ref_id", whole),
        ann_id=_value(raw, "ann_id", whole),
        image_id=_value(raw, "image_id", whole),
        category=categories.get(category, str(category)),
        split=repair_text(_value(raw, "split", text)),
        sentences=tuple(_entries(_value(raw, "sentences", _list), "sentences", _sentence)),
    )


def _sentence(raw: dict[str, Any]) -> Sentence:
    return Sentence(_value(raw, "sent_id", whole), repair_text(_value(raw, "sent", text)))


def _usable(reference: Reference, instances: _Instances, problems: Problems) -> bool:
    """Whether a reference can be evaluated; notes what is wrong with it."""
    where = f"{reference.split} reference {reference.ref_id}"
    annotation = instances.annotations.get(reference.ann_id)
    fault = None
    if annotation is None:
        fault = "reference without annotation"
    elif reference.image_id not in instances.images:
        fault = "reference without image entry"
    elif annotation.get("image_id") != reference.image_id:
        fault = "reference whose annotation is of another image"
    elif not reference.sentences:
        fault = "reference without sentence"
    if fault is not None:
        problems.note(fault, where)
        return False
    for sentence in reference.sentences:
        if not sentence.text:
            problems.note("sentence without words", f"{reference.split} sentence {sentence.sent_id}")
    return True


def _images(root: Path, instances_path: Path, entries: dict[int, dict[str, Any]]) -> dict[int, ImageInfo]:
    """Where each image lies: the folders are listed once, because asking 20,000 times is slow on a network disk."""
    folders = [root / name for name in IMAGE_FOLDERS]
    try:
        where = {name: folder for folder in reversed(folders) if folder.is_dir() for name in os.listdir(folder)}
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error
    images: dict[int, ImageInfo] = {}
    missing: list[str] = []
    for image_id, entry in entries.items():
        try:
            name, (width, height) = text(entry["file_name"]), image_size(entry["width"], entry["height"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{instances_path}: image {image_id}: {_describe(error)}") from error
        if name in where:  # a name as listed: one such as ../../x is in no folder
            images[image_id] = ImageInfo(image_id, where[name] / name, width, height)
        else:
            missing.append(name)
    if missing:
        looked = " and ".join(str(folder) for folder in folders)
        raise MissingData(
            f"{len(missing)} of {len(entries)} images are missing, the first is {missing[0]}: "
            f"looked in {looked}.\n{LAYOUT}"
        )
    return images


def _annotation(entry: dict[str, Any], image: ImageInfo, path: Path, problems: Problems) -> Annotation:
    try:
        code = masks.encode(entry["segmentation"], image.height, image.width)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: annotation {entry['id']}: {_describe(error)}") from error
    if code.clipped:
        problems.note("mask reaches outside its image", f"annotation {entry['id']}")
    return Annotation(int(entry["id"]), image.image_id, code.rle, code.rle.area)


def _describe(error: Exception) -> str:
    return f"it lacks the key {error}" if isinstance(error, KeyError) else str(error)
