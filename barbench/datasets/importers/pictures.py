"""The images of a source: their names, their sizes, and their place in the layout. Used by `datasets.importers`."""

import filecmp
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from barbench.datasets.pixels import images
from barbench.errors import DataError
from barbench.files import atomic_file

COCO_NAME = re.compile(r"(COCO_\w+?_0*(\d+))(?:_\d+)?(\.jpe?g)", re.IGNORECASE)


class SourceImage(NamedTuple):
    """An image as a source has it.

    Attributes:
        name: its file name in the layout.
        data: its bytes, a file that holds them, or None where the source has the annotations alone.
        size: width and height where the source tells them.
    """

    name: str
    data: bytes | Path | None = None
    size: tuple[int, int] | None = None


def coco_name(text: str) -> str:
    """The file of an image from a name or a path, without the suffix that REFER puts behind a COCO name.

    Args:
        text: a file name or a path, of any system.

    Returns:
        The name without folders.

    >>> coco_name("coco/train2014/COCO_train2014_000000581857_16.jpg")
    'COCO_train2014_000000581857.jpg'
    """
    name = re.split(r"[/\\]", text)[-1]
    found = COCO_NAME.fullmatch(name)
    return found[1] + found[3] if found else name


def place_image(folder: Path, name: str, data: bytes | Path) -> None:
    """Put an image into the layout: a file is linked where the file system can do that, else copied.

    Args:
        folder: of the layout's images.
        name: of the file in it.
        data: the image's bytes, or its file.

    Raises:
        DataError: where another image has the place.
    """
    target = folder / name
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
    try:
        os.link(data.resolve(), target)
    except OSError:  # another file system, or one without links
        with data.open("rb") as source, atomic_file(target, sync=False) as file:
            shutil.copyfileobj(source, file)


def stored_size(data: bytes | Path, name: str) -> tuple[int, int]:
    """Read an image's size from its header.

    Args:
        data: the image's bytes, or its file.
        name: for the error.

    Returns:
        Width and height in pixels.

    Raises:
        ValueError: if it is neither a JPEG nor a PNG.
    """
    try:
        return images.stored_size(data)
    except ValueError as error:
        raise ValueError(f"the image {name}: {error}") from error
