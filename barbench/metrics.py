"""Scores from pixel counts: pure functions of each expression's intersection and union."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
Counts = NDArray[np.int64]


class Metrics(NamedTuple):
    """Scores of one split, as fractions.

    Attributes:
        miou: mean IoU, which CRIS, ETRIS and BarLeRIa print as "IoU".
        oiou: overall IoU, the sum of intersections over the sum of unions.
        precision: share of expressions with an IoU strictly above each of THRESHOLDS.
        n: number of expressions.
    """

    miou: float
    oiou: float
    precision: tuple[float, ...]
    n: int

    def __str__(self) -> str:
        """
        >>> print(Metrics(0.431, 0.5, (0.4, 0.3, 0.2, 0.1, 0.0), 360))
        mIoU 43.1, oIoU 50.0, P@0.5 40.0, P@0.6 30.0, P@0.7 20.0, P@0.8 10.0, P@0.9 0.0 over 360 expressions
        """
        shares = [f"P@{limit} {100 * share:.1f}" for limit, share in zip(THRESHOLDS, self.precision, strict=True)]
        scores = (f"mIoU {100 * self.miou:.1f}", f"oIoU {100 * self.oiou:.1f}", *shares)
        return f"{', '.join(scores)} over {self.n:,} expressions"


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
    """Metrics of at least one expression.

    >>> summarise(np.array([1, 3]), np.array([2, 4])).miou
    0.625

    Args:
        intersections: pixels, (n,).
        unions: pixels, (n,).

    Returns:
        The scores over all n expressions.

    Raises:
        ValueError: if there is no expression.
    """
    if len(intersections) == 0:
        raise ValueError("no expression to score")
    ratios = iou(intersections, unions)
    precision = tuple(float((ratios > t).mean()) for t in THRESHOLDS)
    overall = float(iou(intersections.sum(), unions.sum()))
    return Metrics(float(ratios.mean()), overall, precision, len(ratios))


def overlap(prediction: NDArray[np.bool_], target: NDArray[np.uint8]) -> tuple[int, int]:
    """Intersection and union of two masks.

    Args:
        prediction: boolean (H, W).
        target: (H, W), foreground where not 0.

    Returns:
        Both in pixels.
    """
    meet = int(np.count_nonzero(prediction & (target > 0)))
    return meet, int(np.count_nonzero(prediction)) + int(np.count_nonzero(target)) - meet
