"""The image files of a dataset: their sizes and their pixels, checked against what the annotations say."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from barbench.datasets.pixels.file_kind import file_kind
from barbench.datasets.pixels.metadata import without_metadata
from barbench.datasets.untrusted import image_size
from barbench.errors import DataError

RGB = NDArray[np.uint8]

ORIENTATION = 0x0112  # the EXIF tag
EXIF_TRANSPOSE: dict[Any, Callable[[RGB], RGB]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
"""From the stored pixels to what a person sees, by the value of the tag (EXIF 2.3, 4.6.4 A); 1 leaves them."""
SWAPS_SIDES, AS_STORED = (5, 6, 7, 8), 1


@dataclass(frozen=True)
class ImageInfo:
    """One image file.

    Attributes:
        width: in pixels, as in instances.json.
        height: in pixels, as in instances.json.
        apply_exif: whether its EXIF orientation is applied, because the annotations were drawn on the turned image.
    """

    image_id: int
    path: Path
    width: int
    height: int
    apply_exif: bool = False


def decode_image(info: ImageInfo) -> RGB:
    """Decode an image; gray becomes RGB.

    It is read as stored, without EXIF rotation, since the masks of the public releases are drawn on the stored pixels;
    `info.apply_exif` asks for the turned image.

    Args:
        info: the file, and the size that its annotations were drawn on.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        DataError: if the file is absent, unreadable, truncated, neither JPEG nor PNG, or of another size, which is
            checked before any pixel is decoded; the message names the file.
    """
    try:
        data = info.path.read_bytes()
    except OSError as error:
        raise DataError(f"{info.path} cannot be read: {error.strerror or error}") from error
    # Some OpenCV versions fill what a cut JPEG lacks with gray and say nothing. A whole one ends its last scan.
    if data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise DataError(f"{info.path} is truncated: its last JPEG scan has no end")
    # The size is asked of the header first: a file can claim gigabytes of pixels.
    due = info.width, info.height
    bare = without_metadata(data)
    try:
        size = stored_size(data)
        orientation = read_orientation(data) if info.apply_exif or size != due else AS_STORED
        _check_size(size, orientation, info)
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        rgb: Any = cv2.imdecode(np.frombuffer(bare, dtype=np.uint8), flags)
    except (cv2.error, ValueError) as error:
        raise DataError(f"{info.path} is not a readable image ({len(data)} bytes): {error}") from error
    if rgb is None or rgb.shape != (size[1], size[0], 3):
        raise DataError(f"{info.path} is not a readable image ({len(data)} bytes)")
    if info.apply_exif and orientation != AS_STORED:
        rgb = np.ascontiguousarray(EXIF_TRANSPOSE[orientation](rgb))
    return np.asarray(rgb, dtype=np.uint8)


def stored_size(data: bytes | Path) -> tuple[int, int]:
    """Read the size of an image from its header, without decoding it.

    Args:
        data: the image's bytes, or its file.

    Returns:
        Width and height as stored, in pixels.

    Raises:
        ValueError: if it is neither a JPEG nor a PNG, or has a size that is not read.
    """
    size = _size_of(data)
    if size is None:
        # Pillow reads no PNG with a damaged block of text, which is no damage to the pixels.
        content = data if isinstance(data, bytes) else _content(data)
        size = _size_of(without_metadata(content))
        if size is None:
            kind = file_kind(content)
            but = "" if kind is None or kind in ("a JPEG", "a PNG") else f" but {kind}"
            raise ValueError(f"it is neither a JPEG nor a PNG{but}")
    return image_size(*size)


def read_orientation(data: bytes | Path) -> int:
    """The orientation of a JPEG or a PNG by its EXIF, 1 to 8; 1, which turns nothing, where there is none, or where it
    cannot be read."""
    try:
        with _opened(data) as image, warnings.catch_warnings(action="ignore"):
            tag = image.getexif().get(ORIENTATION) if "exif" in image.info else None
            return tag if isinstance(tag, int) and tag in EXIF_TRANSPOSE else AS_STORED
    except Exception:  # a broken EXIF block: decoders pass over it, too
        return AS_STORED


def _size_of(data: bytes | Path) -> tuple[int, int] | None:
    """Width and height; None where Pillow finds no JPEG or PNG."""
    try:
        with _opened(data) as image:
            return image.size
    except Exception:  # Pillow's parsers raise nearly anything: OSError, SyntaxError, struct.error, ...
        return None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or error}") from error


def _opened(data: bytes | Path) -> Image.Image:
    return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=("JPEG", "PNG"))


def _check_size(stored: tuple[int, int], orientation: int, info: ImageInfo) -> None:
    """DataError for another size than the annotations'; it names the EXIF orientation where that explains it."""
    due = info.width, info.height
    # What would be read, and what the other way of reading would give.
    turned = stored[::-1] if orientation in SWAPS_SIDES else stored
    found, other = (turned, stored) if info.apply_exif else (stored, turned)
    if found == due:
        return
    why = ""
    if other == due and info.apply_exif:
        why = ": --exif apply has turned it, and the annotations were drawn on the stored image; leave that option out"
    elif other == due:
        why = ": its EXIF orientation turns it, and the annotations were drawn on the turned image; use --exif apply"
    raise DataError(
        f"{info.path} has {found[0]}x{found[1]} pixels, instances.json says {info.width}x{info.height}{why}"
    )
