"""The images of a source: their names, their sizes, and their place in the layout. Used by `datasets.importers`."""

import filecmp
import hashlib
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from barbench.datasets.importers.honest import no_image, read_head
from barbench.datasets.pixels import images
from barbench.datasets.untrusted import image_size
from barbench.errors import DataError
from barbench.files import atomic_file
from barbench.paper.partitions import Exif

COCO_NAME = re.compile(r"(COCO_\w+?_0*(\d+))(?:_\d+)?(\.jpe?g)", re.IGNORECASE)
COCO_FILE = re.compile(r"COCO_\w+?_0*(\d+)\.jpe?g", re.IGNORECASE)
MAX_NAME = 200  # bytes of a name in the layout: file systems take 255, and a temporary name is longer
AS_THEY_ARE = ("JPEG", "MPO", "PNG")  # formats that the layout's reader takes


class SourceImage(NamedTuple):
    """An image as a source has it.

    Attributes:
        name: its file name in the layout.
        data: its bytes, a file that holds them, or None where the source has the annotations alone.
        size: width and height where the source tells them.
        number: the id that it gets where that is free; None: COCO's, as its name says, or another.
    """

    name: str
    data: bytes | Path | None = None
    size: tuple[int, int] | None = None
    number: int | None = None


def coco_name(text: str) -> str:
    """The file of an image from a name or a path, without the suffix that REFER puts behind a COCO name.

    >>> coco_name("coco/train2014/COCO_train2014_000000581857_16.jpg")
    'COCO_train2014_000000581857.jpg'
    """
    name = re.split(r"[/\\]", text)[-1]
    found = COCO_NAME.fullmatch(name)
    return found[1] + found[3] if found else name


def place_image(folder: Path, name: str, data: bytes | Path) -> None:
    """Put an image into the layout: a file is linked where the file system can do that, else copied. DataError where
    another image has the place."""
    target = folder / name
    # The same image may be imported again.
    if target.exists():
        same = target.read_bytes() == data if isinstance(data, bytes) else filecmp.cmp(data, target, shallow=False)
        if not same:
            raise DataError(f"{target} is there already and holds another image; nothing is overwritten")
        return
    if isinstance(data, bytes):
        with atomic_file(target, sync=False) as file:
            file.write(data)
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Linked, so that a data set of 13 GB is not copied.
    try:
        os.link(data.resolve(), target)
    except OSError:  # another file system, or one without links
        with data.open("rb") as source, atomic_file(target, sync=False) as file:
            shutil.copyfileobj(source, file)


class Header(NamedTuple):
    """What a photo's header says, without its pixels.

    Attributes:
        format: JPEG, PNG, … as its content and not its name says.
        size: width and height as stored.
        orientation: of its EXIF, 1 to 8; 1 turns nothing.
    """

    format: str
    size: tuple[int, int]
    orientation: int

    @property
    def is_turned(self) -> bool:
        """Whether people see other pixels than the stored ones."""
        return self.orientation != images.AS_STORED

    @property
    def turned_size(self) -> tuple[int, int]:
        """Width and height as people see it."""
        width, height = self.size
        return (height, width) if self.orientation in images.SWAPS_SIDES else self.size

    def layout_name(self, name: str) -> str:
        """The name under which the photo is stored: .png is added where it becomes a PNG."""
        return name if self.format in AS_THEY_ARE else f"{name}.png"


def coco_id(name: str) -> int | None:
    """The number of an image in COCO that its file's name gives; None for other names, and for crops (…_1.jpg)."""
    found = COCO_FILE.fullmatch(name)
    return int(found[1]) if found else None


def digest(data: bytes | Path) -> bytes:
    """A hash of an image's bytes."""
    content = data.read_bytes() if isinstance(data, Path) else data
    return hashlib.blake2b(content, digest_size=16).digest()


def layout_names(folder: Path, headers: Mapping[Path, Header]) -> dict[Path, str]:
    """The name of each file in the layout, where all images lie in one folder.

    COCO's images keep their names; others have the path from `folder` on, with __ for each separator. Different images
    never have one name, and two paths of one image do. What is neither JPEG nor PNG is stored as PNG.
    """
    # By the names that are wished for; files that are one are together.
    wished: dict[str, list[Path]] = defaultdict(list)
    for file, header in headers.items():
        name = file.name if coco_id(file.name) is not None else _path_name(folder, file)
        wished[header.layout_name(name)].append(file)

    names: dict[Path, str] = {}
    taken: set[str] = set()
    # Images of one name that differ: each has the name of its path, or a number behind it.
    for name, group in wished.items():
        kinds = _kinds(group)
        for kind in kinds:
            own = name
            if len(kinds) > 1:
                own = headers[kind[0]].layout_name(_path_name(folder, kind[0]))
            unique = _shortened(own)
            number = 1
            while unique.lower() in taken:
                number += 1
                unique = _shortened(f"{Path(own).stem}-{number}{Path(own).suffix}")
            taken.add(unique.lower())
            names |= dict.fromkeys(kind, unique)
    return names


def _kinds(group: list[Path]) -> list[list[Path]]:
    """Files of one wished name, those with the same bytes together."""
    kinds: list[list[Path]] = []
    for file in group:
        for kind in kinds:
            if kind[0].resolve() == file.resolve() or filecmp.cmp(kind[0], file, shallow=False):
                kind.append(file)
                break
        else:
            kinds.append([file])
    return kinds


def _path_name(folder: Path, file: Path) -> str:
    relative = Path(os.path.relpath(file, folder))
    parts = [part for part in relative.parts if part not in ("..", os.sep)]
    return re.sub(r"[\\:]+", "__", "__".join(parts))


def _shortened(name: str) -> str:
    """A name that fits into a file system; a hash of the whole stands for what is cut."""
    if len(name.encode()) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    tail = name.encode()[-(MAX_NAME - 16) :].decode("utf-8", "ignore")
    return f"{digest}__{tail}"


def read_header(file: Path) -> Header:
    """Read the header of a photo in any common format; ValueError if it is none, which says what it is instead."""
    try:
        with Image.open(file) as opened:
            image_format = str(opened.format)
            size = opened.size
            tag: Any = opened.getexif().get(images.ORIENTATION)
    except Exception as error:  # Pillow's parsers raise nearly anything
        raise ValueError(f"the image {file} {no_image(read_head(file))}") from error
    known = isinstance(tag, int) and tag in images.EXIF_TRANSPOSE
    return Header(image_format, image_size(*size), tag if known else images.AS_STORED)


def source_image(name: str, file: Path, exif: Exif) -> SourceImage:
    """A photo for the layout: JPEG and PNG as they are, other formats as PNG, which has no EXIF: a turn is applied.
    ValueError if it cannot be decoded."""
    header = read_header(file)
    if header.format in AS_THEY_ARE:
        return SourceImage(name, file)
    pixels: Any = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        with Image.open(file) as opened:  # formats that OpenCV does not know
            pixels = np.asarray(opened.convert("RGB"))[..., ::-1]
    if exif == "apply" and header.is_turned:
        pixels = images.EXIF_TRANSPOSE[header.orientation](pixels)
    return SourceImage(name, cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes())


def layout_size(data: bytes | Path, name: str, exif: Exif) -> tuple[int, int]:
    """Width and height of an image as it is read: as stored, or turned as its EXIF says; ValueError, with its name, if
    it is neither a JPEG nor a PNG."""
    try:
        width, height = images.stored_size(data)
    except ValueError as error:
        raise ValueError(f"the image {name}: {error}") from error
    if exif == "apply" and images.read_orientation(data) in images.SWAPS_SIDES:
        return height, width
    return width, height
