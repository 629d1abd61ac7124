"""Asks what an image file of a mask is before it is read: indices, labels, soft or lossy values, transparency.

Used by every module of `datasets.importers` that reads masks from files.
"""

import io
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from barbench.datasets.importers.honest import HEAD, no_image
from barbench.datasets.untrusted import image_size

Pixels = NDArray[Any]
Value = int | Literal["any"] | None
FULL = 128  # a maximum from here on is "white"; below, values are numbers of objects
NEAR = 16  # values within a 16th of black or white are noise of a lossy file
FEW = 8  # as many values in one file at most are numbers of objects rather than shades


def decode_mask(data: bytes, name: str, value: Value = None) -> NDArray[np.uint8]:
    """The object in a mask's file as uint8 (H, W), 1 inside.

    A palette image is read by its indices. Without `value` the object is where the mask is not 0; soft edges (and the
    noise of JPEG) are cut half way to the maximum. A file of several flat areas has several objects: it needs `value`,
    which is the number of one, or `any` for all of them. A ValueError says why it is no image, or why it cannot be told
    which pixels are meant.
    """
    opened = _opened(data, name)
    indexed = opened.mode in ("P", "1")
    lossy = opened.format in ("JPEG", "MPO")
    pixels = np.asarray(opened).astype(np.uint8) if indexed else _pixels(data, name)
    # With a number the pixels of that object.
    if isinstance(value, int):
        if pixels.ndim == 3:
            raise ValueError(f"{name} has colors, and 'value' needs a mask with one number per pixel")
        if lossy:
            raise ValueError(f"{name} is a JPEG, which changes numbers of objects; save label images as PNG")
        return np.asarray(pixels == value, dtype=np.uint8)
    # All channels together; several flat colors would be several objects.
    if pixels.ndim == 3:
        if value is None and not lossy:
            _refuse_colors(pixels, name)
        pixels = pixels.max(axis=2)
    if indexed or value == "any":
        return np.asarray(pixels != 0, dtype=np.uint8)
    return _inside(pixels, name, lossy)


def mask_size(data: bytes, name: str) -> tuple[int, int]:
    """Width and height of a mask's file, from its header."""
    return _opened(data, name).size


def _opened(data: bytes, name: str) -> Image.Image:
    try:
        opened = Image.open(io.BytesIO(data))
    except Exception as error:  # Pillow's parsers raise nearly anything
        raise ValueError(f"the mask {name} {no_image(data[:HEAD])}") from error
    image_size(*opened.size)
    return opened


def _pixels(data: bytes, name: str) -> Pixels:
    """Gray (H, W) or color (H, W, 3) as stored; what is transparent is black."""
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ValueError(f"the mask {name} is no image that can be read")
    if pixels.ndim == 2:
        return np.asarray(pixels)
    # With transparency: the object is what is opaque.
    color = pixels[..., :3]
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:]
        if (color == color[0, 0]).all() and (alpha != alpha[0, 0]).any():
            return np.asarray(alpha[..., 0])  # the object is drawn in the transparency alone
        color = np.where(alpha > np.iinfo(pixels.dtype).max / 2, color, 0)
    # Three equal channels are gray.
    if (color[..., 0] == color[..., 1]).all() and (color[..., 1] == color[..., 2]).all():
        color = color[..., 0]
    return np.asarray(color)


def _inside(gray: Pixels, name: str, lossy: bool) -> NDArray[np.uint8]:
    """The object of a mask with one number per pixel, where nobody says which number it is."""
    top = int(gray.max())
    if lossy and 0 < top < FULL:
        raise ValueError(
            f"{name} is a JPEG whose largest value is {top}, which may be nothing but noise: save masks as PNG"
        )
    # One value, or no white: all that is not black.
    values = np.unique(gray[gray > 0])
    if len(values) < 2 or top < FULL:
        return np.asarray(gray != 0, dtype=np.uint8)
    # Flat areas of several values are several objects; else the edges are soft.
    if not lossy and _is_of_labels(gray, values):
        listed = ", ".join(map(str, values[:FEW])) + ", …" * (len(values) > FEW)
        raise ValueError(
            f"{name} has flat areas of several values ({listed}): which one is the object? Give a column 'value' "
            "with its number, or with 'any' for all that is not 0"
        )
    return np.asarray(gray > top / 2, dtype=np.uint8)


def _is_of_labels(gray: Pixels, values: Pixels) -> bool:
    """Whether values between black and white are areas, as of label images, and not edges, as of soft masks."""
    top = int(gray.max())
    low = 0 if len(values) <= FEW else top / NEAR
    high = top - top / NEAR
    between = (gray > low) & (gray < high)
    if not between.any():
        return False
    # Inside an area all neighbors of a pixel are equal.
    square = np.ones((3, 3), np.uint8)
    flat = cv2.erode(gray, square) == cv2.dilate(gray, square)
    inside = (flat & between).sum()
    return bool(2 * inside > between.sum())


def _refuse_colors(color: Pixels, name: str) -> None:
    """ValueError for areas of several colors."""
    square = np.ones((3, 3), np.uint8)
    flat = (cv2.erode(color, square) == cv2.dilate(color, square)).all(axis=2)
    colors = np.unique(color[flat].astype(np.int64) @ (1, 1 << 16, 1 << 32))
    drawn = int((colors != 0).sum())
    if drawn > 1:
        raise ValueError(
            f"{name} has areas of {drawn} colors beside black: which one is the object? Save it as a palette image "
            "or as numbers and give a column 'value', with 'any' for all that is not black"
        )
