"""Polygons as annotation tools write them, in COCO's form. Used by the reader and by `barbench data import`."""

from itertools import chain
from typing import Any

from barbench.values import shown

EXPECTED = "expected [[x1, y1, x2, y2, …], …] in pixels, or one polygon as [[x, y], [x, y], …]"


def flat_polygons(segmentation: Any) -> Any:
    """A COCO segmentation whose polygons are flat lists; anything but a list stays as it is.

    labelme and most annotation tools write a polygon as pairs, [[x, y], [x, y], …]. COCO would read that as a list of
    polygons of one point each, which cover nothing.

    >>> flat_polygons([[5, 5], [25, 5], [25, 30]])
    [[5, 5, 25, 5, 25, 30]]

    Raises:
        ValueError: for a list that holds points beside polygons, or fewer than three points.
    """
    if not isinstance(segmentation, list) or not segmentation:
        return segmentation
    # A single polygon of pairs looks like a list of polygons of one point each.
    points = [_is_point(part) for part in segmentation]
    if all(points):
        return [_joined(segmentation)]
    if any(points):
        raise ValueError(f"a part of its polygons has two numbers, which are a point and no polygon: {EXPECTED}")
    polygons = []
    for part in segmentation:
        of_pairs = isinstance(part, list) and bool(part) and all(map(_is_point, part))
        polygons.append(_joined(part) if of_pairs else part)
    return polygons


def all_between_0_and_1(polygons: Any) -> bool:
    """Whether flat polygons have no coordinate outside of 0 … 1, as YOLO's shares of the image's sides do."""
    if not isinstance(polygons, list):
        return False
    numbers = list(chain.from_iterable(part for part in polygons if isinstance(part, list)))
    if not numbers:
        return False
    return all(isinstance(number, int | float) and 0 <= number <= 1 for number in numbers)


def _is_point(part: Any) -> bool:
    return isinstance(part, list) and len(part) == 2 and not isinstance(part[0], list)


def _joined(points: list[list[Any]]) -> list[Any]:
    """The numbers of all points in one list."""
    if len(points) < 3:
        raise ValueError(f"its polygon has {len(points)} points ({shown(str(points))}), and at least three are needed")
    return list(chain.from_iterable(points))


def checked_polygons(segmentation: Any, width: int, height: int) -> Any:
    """As `flat_polygons`, of a mask that is imported: one that is nowhere in its image is refused.

    Raises:
        ValueError: for polygons without three points, and for coordinates in shares of the image.
    """
    polygons = flat_polygons(segmentation)
    if not isinstance(polygons, list):
        return polygons
    # Two points are no area: four numbers are a box, as other tools write it.
    longest = max((len(part) for part in polygons if isinstance(part, list)), default=0)
    if 0 < longest < 6:
        raise ValueError(
            f"its polygon has {longest} numbers, and three points have six: is it a box? Write its four corners"
        )
    if width * height > 1 and all_between_0_and_1(polygons):
        raise ValueError(
            "its polygon lies between 0 and 1, in shares of the image as YOLO writes them: multiply x by the width "
            f"({width}) and y by the height ({height})"
        )
    return polygons
