"""Reads a photo of the user's own in any common format, upright and as RGB. Used by `barbench predict` and
`bb.predict`."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from barbench.datasets.pixels.file_kind import file_kind
from barbench.datasets.untrusted import MAX_PIXELS
from barbench.errors import DataError, UsageError

RGB = NDArray[np.uint8]


def read_photo(path: Path) -> RGB:
    """Read a photo as a person sees it: upright, its first frame, in RGB.

    EXIF rotation is applied, gray becomes RGB, 16 bits become 8, and transparency is put over white. Images of a
    dataset are read as stored instead (`images.decode_image`), because their masks are drawn on the stored pixels.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        DataError: if the file is absent, not an image, truncated, or has more than MAX_PIXELS; the message names it.
    """
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                size = f"{opened.width}x{opened.height}"
                raise DataError(f"{path} has {size} pixels; at most {MAX_PIXELS:,} are read: make it smaller")
            return upright_rgb(opened)
    except FileNotFoundError:
        raise DataError(f"{path}: no such photo") from None
    except UnidentifiedImageError:
        with path.open("rb") as file:
            kind = file_kind(file.read(512))
        what = "" if kind is None else f": it is {kind}"
        raise DataError(f"{path} is not an image that can be read{what}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from None


def upright_rgb(image: Image.Image) -> RGB:
    """The pixels of an opened image as `read_photo` gives them, uint8 (H, W, 3) RGB."""
    photo = ImageOps.exif_transpose(image)
    # Sixteen bits, then transparency.
    if photo.mode.startswith("I"):
        photo = Image.fromarray((np.asarray(photo).clip(0, 65535) // 257).astype(np.uint8))
    if photo.has_transparency_data:
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo.convert("RGBA"))
    return np.array(photo.convert("RGB"))


def check_pixels(pixels: NDArray[Any]) -> RGB:
    """Refuse an array that is no photo: taken for one, most would be black, and nothing would be found in them.

    Returns:
        The array, uint8 (H, W, 3).

    Raises:
        UsageError: for another type or shape; the message says what it has, and how to make it a photo.
    """
    # What it may be instead, and how to make a photo of that.
    advice = None
    if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 1):
        advice = "gray becomes RGB by np.repeat(gray.reshape(*gray.shape[:2], 1), 3, axis=2)"
    elif pixels.ndim == 3 and pixels.shape[2] == 4:
        advice = "leave out the transparency: photo[..., :3]"
    elif pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.shape[2] != 3:
        advice = "the channels come last: photo.transpose(1, 2, 0)"
    elif pixels.ndim == 4:
        advice = "give one photo at a time"
    elif pixels.dtype.kind == "f":
        advice = "values of 0..1 become bytes by (255 * photo).round().astype(np.uint8)"
    elif pixels.dtype == np.uint16:
        advice = "16 bits become 8 by (photo // 257).astype(np.uint8)"
    elif pixels.dtype.kind in "iu" and pixels.dtype != np.uint8:
        advice = "values of 0..255 become bytes by photo.astype(np.uint8)"
    elif pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size:
        return np.ascontiguousarray(pixels)
    hint = "" if advice is None else f" ({advice})"
    raise UsageError(
        f"the photo is an array of {pixels.dtype}, {pixels.shape}; what is read is uint8, (height, width, 3), RGB, "
        f"a file, or an image of Pillow{hint}"
    )


def smoothed(photo: RGB, size: int) -> RGB:
    """Blur a photo so that nothing finer remains than a square of `size` pixels can hold.

    The letterbox samples single points of a photo. That is right for COCO's images (about 1.5 times the square), but
    would turn the fine detail of a camera's photo into noise.

    Args:
        photo: uint8 (H, W, 3).
        size: side of the model's square in pixels.

    Returns:
        uint8 (H, W, 3); the photo itself if its longer side is at most twice `size`.
    """
    factor = max(photo.shape[:2]) / (2 * size)
    if factor <= 1:
        return photo
    # OpenCV takes seven times as long for a tall photo as for the same one on its side; the pixels are equal.
    if photo.shape[0] > photo.shape[1]:
        blurred = cv2.transpose(cv2.GaussianBlur(cv2.transpose(photo), (0, 0), sigmaX=factor / 2))
    else:
        blurred = cv2.GaussianBlur(photo, (0, 0), sigmaX=factor / 2)
    return np.asarray(blurred, dtype=np.uint8)
