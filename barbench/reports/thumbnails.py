"""Small images and masks of one size, which lie on one another in the page's explorer of expressions."""

import io
from base64 import b64decode, b64encode
from typing import Final

import numpy as np
from PIL import Image as Pillow
from PIL import ImageColor

from barbench.results.qualitative import Image, Mask

SIDE: Final = 144
"""Longest side in pixels."""
_QUALITY: Final = 60


def small_image(image: Image) -> bytes:
    """An image, uint8 (H, W, 3) RGB, as WebP."""
    small = Pillow.fromarray(image)
    small.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    small.save(content, "WEBP", quality=_QUALITY, method=4)
    return content.getvalue()


def shrunk(mask: Mask) -> Mask:
    """A mask (H, W) in the size of a thumbnail."""
    small = Pillow.fromarray(mask.astype(np.uint8) * 255)
    small.thumbnail((SIDE, SIDE), Pillow.Resampling.BOX)
    return np.asarray(small) > 127


def layer(mask: Mask, color: str) -> bytes:
    """A mask (H, W) as PNG with that color, #rrggbb, inside and nothing outside."""
    two = Pillow.fromarray(mask.astype(np.uint8), "P")
    two.putpalette([0, 0, 0, *ImageColor.getrgb(color)])
    content = io.BytesIO()
    two.save(content, "PNG", optimize=True, bits=1, transparency=0)
    return content.getvalue()


def small_mask(mask: Mask, color: str) -> str:
    """A mask (H, W) as base64 of the layer that lies on a thumbnail."""
    return b64encode(layer(shrunk(mask), color)).decode()


def read_mask(text: str) -> Mask:
    """The inverse of `small_mask`: boolean, in the size of a thumbnail; raises OSError or ValueError for other text."""
    with Pillow.open(io.BytesIO(b64decode(text))) as small:
        return np.asarray(small) > 0
