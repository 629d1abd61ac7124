"""Reads a photo of the user's own in any common format, upright and as RGB. Used by `barbench predict`."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from barbench.datasets.untrusted import MAX_PIXELS
from barbench.errors import DataError

RGB = NDArray[np.uint8]


def read_photo(path: Path) -> RGB:
    """Read a photo as a person sees it: upright, its first frame, in RGB.

    EXIF rotation is applied, gray becomes RGB, 16 bits become 8, and transparency is put over white. Images of a
    dataset are read as stored instead (`images.decode_image`), because their masks are drawn on the stored pixels.

    Args:
        path: any format that Pillow reads.

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
            photo = ImageOps.exif_transpose(opened)
            if photo.mode.startswith("I"):
                photo = Image.fromarray((np.asarray(photo).clip(0, 65535) // 257).astype(np.uint8))
            if photo.has_transparency_data:
                photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo.convert("RGBA"))
            return np.array(photo.convert("RGB"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such photo") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image that can be read") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from None


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
    return np.asarray(cv2.GaussianBlur(photo, (0, 0), sigmaX=factor / 2), dtype=np.uint8)
