"""COCO segmentations as run-length codes: polygons, compressed and uncompressed RLE. Used by `datasets.refer`.

Everything becomes one canonical compressed code, so that two masks are equal exactly where their codes are. Rasterising
is pycocotools' own: other rasterisers differ by tenths of mIoU.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from barbench.datasets.untrusted import MAX_OUTLINE, shown, whole

Mask = NDArray[np.uint8]


class Rle(NamedTuple):
    """A mask of `height` x `width` pixels as COCO's compressed run lengths (column-major)."""

    height: int
    width: int
    counts: bytes

    def decode(self) -> Mask:
        """uint8 (H, W), 1 inside."""
        mask: Mask = coco.decode({"size": [self.height, self.width], "counts": self.counts})
        return np.ascontiguousarray(mask)

    @property
    def area(self) -> int:
        """Pixels inside."""
        return int(coco.area({"size": [self.height, self.width], "counts": self.counts}))


class Encoded(NamedTuple):
    """A code, and whether the segmentation reached outside the image (and was clipped)."""

    rle: Rle
    clipped: bool


def encode(segmentation: Any, height: int, width: int) -> Encoded:
    """The code of a COCO `segmentation` in an image of `height` x `width`; several polygons are merged.

    A polygon of fewer than three points has no area and adds nothing. Raises ValueError saying what is wrong: an RLE of
    another size or whose runs do not fill the image, coordinates that are not numbers, outlines beyond MAX_OUTLINE.
    pycocotools checks none of it, and reads or writes outside its memory.
    """
    if isinstance(segmentation, dict):
        return Encoded(_from_runs(segmentation, height, width), False)
    if not isinstance(segmentation, list):
        raise ValueError(f"its segmentation is neither polygons nor RLE but {type(segmentation).__name__}")
    try:
        parts = [np.asarray(part, dtype=np.float64) for part in segmentation]
    except (TypeError, ValueError, OverflowError):
        parts = [np.array(np.nan)]
    if any(part.ndim != 1 or part.size % 2 or not np.isfinite(part).all() for part in parts):
        raise ValueError("its polygon is not a flat list x1, y1, x2, y2, … of finite numbers")
    parts = [part for part in parts if part.size >= 6]
    if not parts:
        return Encoded(from_mask(np.zeros((height, width), dtype=np.uint8)), False)
    xy = np.concatenate(parts).reshape(-1, 2)
    with np.errstate(over="ignore"):
        length = np.abs(np.diff(xy, axis=0)).max(axis=1).sum()  # steps that lead from part to part included
    if length > MAX_OUTLINE or np.abs(xy).max() > MAX_OUTLINE:
        raise ValueError(f"its polygons reach or measure more than {MAX_OUTLINE:,} pixels")
    # Annotators' polygons may touch the far border of the last pixel; one pixel beyond is still rounding.
    clipped = bool(xy.min() < -1 or xy[:, 0].max() > width + 1 or xy[:, 1].max() > height + 1)
    code = coco.merge(coco.frPyObjects([part.tolist() for part in parts], height, width))
    return Encoded(Rle(height, width, code["counts"]), clipped)


def from_mask(mask: Mask) -> Rle:
    """The code of a uint8 (H, W) mask."""
    height, width = mask.shape
    return Rle(height, width, coco.encode(np.asfortranarray(mask))["counts"])


def _from_runs(segmentation: dict[str, Any], height: int, width: int) -> Rle:
    """Checks and re-encodes an RLE. pycocotools would fill the pixels behind too few runs with uninitialised memory."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise ValueError(f"its RLE's size is {shown(size)}, not [height, width]")
    if (own := [whole(n) for n in size]) != [height, width]:
        raise ValueError(f"its RLE has size {own}, the image {[height, width]}")
    if not isinstance(counts, str | bytes | list | tuple):
        raise ValueError(f"its RLE's counts are {shown(counts)}")
    runs = _decompress(counts) if isinstance(counts, str | bytes) else [whole(run) for run in counts]
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(f"its RLE's runs sum to {sum(runs)}, the image has {height * width} pixels")
    inside = np.arange(len(runs)) % 2 == 1
    return from_mask(np.repeat(inside.astype(np.uint8), runs).reshape(width, height).T)


def _decompress(counts: str | bytes) -> list[int]:
    """Run lengths from COCO's text code: 5 bits a character, signed; from the fourth on, less the run two before."""
    runs: list[int] = []
    value = shift = 0
    for code in counts.encode("latin1") if isinstance(counts, str) else counts:
        bits = code - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its RLE is not COCO's code of run lengths")
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
