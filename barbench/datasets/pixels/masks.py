"""COCO segmentations as run-length codes: polygons, compressed and uncompressed RLE. Used by `datasets.refer`.

Everything becomes one canonical compressed code, so that two masks are equal exactly where their codes are. pycocotools
rasterises the polygons: other rasterisers differ by tenths of a point of mIoU.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from barbench.datasets.untrusted import MAX_OUTLINE
from barbench.values import shown, whole

Mask = NDArray[np.uint8]
NOT_FLAT = "its polygon is not a flat list x1, y1, x2, y2, … of finite numbers"


class Rle(NamedTuple):
    """A mask as COCO's compressed run lengths, column-major in COCO's text code; height and width in pixels."""

    height: int
    width: int
    counts: bytes

    def decode(self) -> Mask:
        """The mask as uint8 (H, W), 1 inside."""
        columns = coco.decode(_coco(self)).T
        return np.asarray(cv2.transpose(columns), dtype=np.uint8)  # many times faster than numpy's copy

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a box that holds the mask, in pixels; right and bottom are the first outside.

        Nearly always the smallest one: a run that goes on in the next column makes it as high as the image.
        """
        left, top, width, height = map(int, coco.toBbox(_coco(self)))
        return left, top, left + width, top + height

    @property
    def area(self) -> int:
        """Number of pixels inside."""
        return int(coco.area(_coco(self)))

    def as_json(self) -> dict[str, Any]:
        """COCO's form of it in a file of annotations."""
        return {"size": [self.height, self.width], "counts": self.counts.decode()}


def _coco(rle: Rle) -> dict[str, Any]:
    """A code as pycocotools takes it."""
    return {"size": [rle.height, rle.width], "counts": rle.counts}


class EncodedMask(NamedTuple):
    """The code of a segmentation, and whether the segmentation reached outside its image and was clipped."""

    rle: Rle
    clipped: bool


def encode(segmentation: Any, height: int, width: int) -> EncodedMask:
    """The code of a COCO `segmentation`; several polygons are merged.

    A polygon of fewer than three points has no area and adds nothing. pycocotools checks none of what is checked here,
    and would read or write outside its memory.

    Args:
        segmentation: a list of polygons [x1, y1, x2, y2, …] in pixels, or a dict with `size` and `counts` (RLE).

    Raises:
        ValueError: for an RLE of another size or whose runs do not fill the image, coordinates that are not finite
            numbers, or outlines longer than MAX_OUTLINE; the message says which.
    """
    if isinstance(segmentation, dict):
        return EncodedMask(_from_runs(segmentation, height, width), False)
    if not isinstance(segmentation, list):
        raise ValueError(f"its segmentation is neither polygons nor RLE but {type(segmentation).__name__}")
    parts = _polygons(segmentation)
    if not parts:
        return EncodedMask(from_mask(np.zeros((height, width), dtype=np.uint8)), False)

    # All polygons of a mask are checked at once, since there are half a million masks.
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
    xy = flat.reshape(-1, 2)
    left, top = np.minimum.reduce(xy).tolist()
    right, bottom = np.maximum.reduce(xy).tolist()
    if not all(map(math.isfinite, (left, top, right, bottom))):  # min and max propagate NaN and infinity
        raise ValueError(NOT_FLAT)

    # Rasterising takes memory with the outline's length; the exact length is computed only where its bound is too long.
    reach = max(right, bottom, -left, -top)
    may_be_long = 2 * reach * len(xy) > MAX_OUTLINE
    if reach > MAX_OUTLINE or (may_be_long and _length(xy) > MAX_OUTLINE):
        raise ValueError(f"its polygons reach or measure more than {MAX_OUTLINE:,} pixels")

    # Annotators' polygons may touch the far border of the last pixel; one pixel beyond is still rounding.
    clipped = min(left, top) < -1 or right > width + 1 or bottom > height + 1
    codes = coco.frPyObjects(parts, height, width)
    code = codes[0] if len(codes) == 1 else coco.merge(codes)
    return EncodedMask(Rle(height, width, code["counts"]), clipped)


def _polygons(segmentation: list[Any]) -> list[NDArray[np.float64]]:
    """The polygons of at least three points, each flat: x1, y1, x2, y2, …; ValueError for any that is not flat."""
    # numpy refuses what is no number, and makes a list of points two-dimensional.
    try:
        parts = [np.asarray(part, dtype=np.float64) for part in segmentation]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(NOT_FLAT) from None
    polygons = []
    for part in parts:
        if part.ndim != 1 or part.size % 2:
            raise ValueError(NOT_FLAT)
        if part.size >= 6:
            polygons.append(part)
        elif not math.isfinite(part.sum()):  # of the others, `encode` checks all coordinates at once
            raise ValueError(NOT_FLAT)
    return polygons


def _length(xy: NDArray[np.float64]) -> float:
    """Length of outlines (N, 2) in pixels as they are rasterised, including the steps from one part to the next."""
    return float(np.abs(np.diff(xy, axis=0)).max(axis=1).sum())


def from_mask(mask: Mask) -> Rle:
    """The canonical code of a mask, uint8 (H, W), 1 inside."""
    height, width = mask.shape
    columns = np.asarray(cv2.transpose(np.ascontiguousarray(mask))).T  # many times faster than numpy's copy
    return Rle(height, width, coco.encode(columns)["counts"])


def join_codes(codes: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Many masks' run lengths as two arrays, as they are stored.

    Args:
        codes: `counts` of each Rle.

    Returns:
        All of them end to end, uint8, and where each begins, with the end of the last, int64 (n + 1,).
    """
    offsets = np.cumsum([0, *map(len, codes)], dtype=np.int64)
    return np.frombuffer(b"".join(codes), np.uint8), offsets


def split_codes(joined: NDArray[np.uint8], offsets: NDArray[np.int64]) -> list[bytes]:
    """The inverse of `join_codes`; ValueError where the offsets are not of these codes."""
    bounds = offsets.tolist()
    if not bounds or bounds[0] != 0 or bounds[-1] != len(joined) or bounds != sorted(bounds):
        raise ValueError("the offsets of its masks do not fit their codes")
    text = joined.tobytes()
    return [text[begin:end] for begin, end in pairwise(bounds)]


def united(parts: Sequence[Rle], height: int, width: int) -> Rle:
    """The code of the union of masks of one image, height x width pixels; without any it is empty."""
    if not parts:
        return from_mask(np.zeros((height, width), dtype=np.uint8))
    code = coco.merge([_coco(part) for part in parts])
    return from_mask(np.ascontiguousarray(coco.decode(code)))


def disjoint(one: Rle, other: Rle) -> bool:
    """Whether two masks of one image have no pixel in common."""
    return shared_pixels(one, other) == 0


def shared_pixels(one: Rle, other: Rle) -> int:
    """Number of pixels that two masks of one image have in common."""
    return int(coco.area(coco.merge([_coco(one), _coco(other)], intersect=True)))


def _from_runs(segmentation: dict[str, Any], height: int, width: int) -> Rle:
    """Check an RLE and encode it again. pycocotools would fill the pixels after too few runs with uninitialized
    memory."""
    of_image = [height, width]
    size = segmentation.get("size")
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise ValueError(f"its RLE's size is {shown(size)}, not [height, width]")
    own = [whole(number) for number in size]
    if own != of_image:
        raise ValueError(f"its RLE has size {own}, the image {of_image}")

    # Its runs, written out or in COCO's text code.
    counts = segmentation.get("counts")
    if isinstance(counts, str | bytes):
        runs = _decompress(counts)
    elif isinstance(counts, list | tuple):
        runs = [whole(run) for run in counts]
    else:
        raise ValueError(f"its RLE's counts are {shown(counts)}")
    total = sum(runs)
    if total != height * width or min(runs, default=0) < 0:
        raise ValueError(f"its RLE's runs sum to {total}, the image has {height * width} pixels")

    # Without empty runs the code is canonical, and pycocotools writes it many times faster than by way of pixels.
    if all(runs[1:]):
        (code,) = coco.frPyObjects([{"size": own, "counts": runs}], height, width)
        return Rle(height, width, code["counts"])
    inside = np.arange(len(runs)) % 2
    pixels = np.repeat(inside.astype(np.uint8), runs)
    return from_mask(pixels.reshape(width, height).T)


def _decompress(counts: str | bytes) -> list[int]:
    """Run lengths from COCO's text code: 5 bits per character, signed; from the fourth run on, the difference to the
    run two before."""
    text = counts.encode("latin1", "replace") if isinstance(counts, str) else counts
    bits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if bits.size == 0:
        return []
    # A character has five bits of a number, and a sixth that says whether another one follows.
    ends = np.flatnonzero(bits & 0x20 == 0)
    lengths = np.diff(ends, prepend=-1)
    in_range = bits.min() >= 0 and bits.max() <= 63
    complete = ends.size > 0 and ends[-1] + 1 == bits.size
    if not in_range or not complete or lengths.max() > 8:
        raise ValueError("its RLE is not COCO's code of run lengths")
    # The lowest bits come first.
    starts = ends + 1 - lengths
    places = np.arange(bits.size) - np.repeat(starts, lengths)
    parts = (bits & 0x1F) << (5 * places)
    values = np.add.reduceat(parts, starts)
    # The highest bit of the last character is the sign.
    values -= np.where(bits[ends] & 0x10, 1 << (5 * lengths), 0)
    for chain in (values[1::2], values[2::2]):
        np.cumsum(chain, out=chain)
    runs: list[int] = values.tolist()
    return runs
