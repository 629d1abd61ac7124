"""A photo of one's own, whatever its format, as a person sees it. Used by `barbench predict`."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from barbench.datasets.untrusted import MAX_PIXELS
from barbench.errors import DataError

RGB = NDArray[np.uint8]


def read_photo(path: Path) -> RGB:
    """uint8 (H, W, 3): turned as its EXIF says, the first frame, gray as RGB, 16 bits as 8, transparency over white.

    (Images of a data set are read as stored, see `refer.decode_image`: their masks are drawn on the stored pixels.)
    Raises DataError naming the file where it is absent, no image, cut, or of more than MAX_PIXELS.
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
    """The photo without detail that a square of `size` pixels cannot hold; unchanged up to twice that size.

    The letterbox takes single points of a photo, which is as it should be for those of COCO (about 1.5 times its
    square), but would turn the fine detail of a photo from a camera into noise.
    """
    factor = max(photo.shape[:2]) / (2 * size)
    if factor <= 1:
        return photo
    return np.asarray(cv2.GaussianBlur(photo, (0, 0), sigmaX=factor / 2), dtype=np.uint8)
