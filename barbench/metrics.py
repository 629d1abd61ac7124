"""Scores from pixel counts: pure functions of each expression's intersection and union."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


class Metrics(NamedTuple):
    """Scores of one split, as fractions.

    Attributes:
        miou: mean IoU, which CRIS, ETRIS and BarLeRIa print as "IoU".
        oiou: overall IoU, the sum of intersections over the sum of unions.
        precision: share of expressions with an IoU strictly above each of THRESHOLDS.
        n: number of expressions.
        n_acc: of gRefCOCO's expressions that mean nothing, the share for which nothing was found; None without such.
        t_acc: of those that mean something, the share for which something was found; None for other data sets.

    On gRefCOCO, miou is what its authors call gIoU, where an expression that means nothing counts 1 if nothing was
    found and 0 otherwise; oiou is their cIoU; precision is over the expressions that mean something. See `summarise`.
    """

    miou: float
    oiou: float
    precision: tuple[float, ...]
    n: int
    n_acc: float | None = None
    t_acc: float | None = None

    def __str__(self) -> str:
        """
        >>> print(Metrics(0.431, 0.5, (0.4, 0.3, 0.2, 0.1, 0.0), 360))
        mIoU 43.1, oIoU 50.0, P@0.5 40.0, P@0.6 30.0, P@0.7 20.0, P@0.8 10.0, P@0.9 0.0 over 360 expressions
        """
        shares = [f"P@{limit} {100 * share:.1f}" for limit, share in zip(THRESHOLDS, self.precision, strict=True)]
        names = ("mIoU", "oIoU") if self.t_acc is None and self.n_acc is None else ("gIoU", "cIoU")
        scores = (f"{names[0]} {100 * self.miou:.1f}", f"{names[1]} {100 * self.oiou:.1f}", *shares)
        for name, share in (("N-acc", self.n_acc), ("T-acc", self.t_acc)):
            scores += () if share is None else (f"{name} {100 * share:.1f}",)
        return f"{', '.join(scores)} over {self.n:,} expressions"


def iou(intersections: ArrayLike, unions: ArrayLike, targets: ArrayLike | None = None) -> Floats:
    """IoU of each expression; 0 where both masks are empty: finding nothing is no success, unless nothing is meant.

    Args:
        intersections: pixels, of any shape.
        unions: pixels, of the same shape.
        targets: number of objects that are meant, of the same shape; None: one each.

    Returns:
        Fractions, of that shape.

    >>> iou(np.array([1, 0]), np.array([4, 0])).tolist()
    [0.25, 0.0]
    >>> iou(np.array([0, 0]), np.array([0, 9]), targets=np.array([0, 0])).tolist()
    [1.0, 0.0]
    """
    ratios = np.asarray(intersections) / np.maximum(unions, 1)
    return ratios if targets is None else np.where((np.asarray(targets) == 0) & (np.asarray(unions) == 0), 1.0, ratios)


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


def summarise_general(intersections: Counts, unions: Counts, targets: Counts, areas: Counts) -> Metrics:
    """Metrics of at least one expression, where some mean several objects or none.

    As gRefCOCO's authors define gIoU, cIoU, N-acc and T-acc (henghuiding/ReLA, gres_model/evaluation/
    refer_evaluation.py; T_acc is that of later commits, TN / (TN + FP), as in the paper; a389648 had another). Nothing
    is found where the prediction has no pixel. P@X is strictly above, as elsewhere in barbench; theirs is at least.

    >>> found = summarise_general(*map(np.array, ([6, 0, 0], [8, 0, 5], [2, 0, 0], [7, 0, 0])))
    >>> [round(score, 3) for score in (found.miou, found.oiou, found.n_acc, found.t_acc)]
    [0.583, 0.462, 0.5, 1.0]

    Args:
        intersections: pixels, (n,).
        unions: pixels, (n,).
        targets: number of objects that are meant, (n,).
        areas: pixels of what is meant, (n,).

    Returns:
        The scores over all n expressions.

    Raises:
        ValueError: if there is no expression.
    """
    ratios, some = iou(intersections, unions, targets), targets > 0
    overall = summarise(intersections, unions).oiou
    found = unions - areas + intersections > 0
    precision = tuple(float((ratios[some] > t).mean()) if some.any() else 0.0 for t in THRESHOLDS)
    return Metrics(
        float(ratios.mean()),
        overall,
        precision,
        len(ratios),
        n_acc=None if some.all() else float((~found[~some]).mean()),
        t_acc=float(found[some].mean()) if some.any() else None,
    )


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
