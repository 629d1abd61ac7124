"""Scores from counts of pixels: pure functions over each expression's intersection and union."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
Counts = NDArray[np.int64]


class Metrics(NamedTuple):
    """Fractions. `miou`, mean IoU: what CRIS, ETRIS and BarLeRIa print as IoU. `oiou`, overall IoU: sum of
    intersections over sum of unions. `precision`: share of expressions with IoU strictly above each of THRESHOLDS. `n`
    expressions.
    """

    miou: float
    oiou: float
    precision: tuple[float, ...]
    n: int


def iou(intersections: ArrayLike, unions: ArrayLike) -> NDArray[np.float64]:
    """IoU of each expression; 0 where both masks are empty: finding nothing is no success.

    Args:
        intersections: pixels, of any shape.
        unions: pixels, of the same shape.

    Returns:
        Fractions, of that shape.

    >>> iou(np.array([1, 0]), np.array([4, 0])).tolist()
    [0.25, 0.0]
    """
    return np.asarray(intersections) / np.maximum(unions, 1)


def summarise(intersections: Counts, unions: Counts) -> Metrics:
    """Metrics of at least one expression, (n,) pixels each; raises ValueError for none.

    >>> summarise(np.array([1, 3]), np.array([2, 4])).miou
    0.625
    """
    if len(intersections) == 0:
        raise ValueError("no expression to score")
    ratios = iou(intersections, unions)
    precision = tuple(float((ratios > t).mean()) for t in THRESHOLDS)
    overall = float(iou(intersections.sum(), unions.sum()))
    return Metrics(float(ratios.mean()), overall, precision, len(ratios))


def overlap(prediction: NDArray[np.bool_], target: NDArray[np.uint8]) -> tuple[int, int]:
    """Intersection and union of two masks (H, W), in pixels."""
    meet = int(np.count_nonzero(prediction & (target > 0)))
    return meet, int(np.count_nonzero(prediction)) + int(np.count_nonzero(target)) - meet
