"""Metrics of intersection over union, for data sets where each expression means one object."""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barbench.metrics.base import Columns, Floats, Metric, ratio_of_sums

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


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
    if targets is None:
        return ratios
    nothing_meant_or_found = (np.asarray(targets) == 0) & (np.asarray(unions) == 0)
    return np.where(nothing_meant_or_found, 1.0, ratios)


def overlap(prediction: NDArray[np.bool_], target: NDArray[np.uint8]) -> tuple[int, int]:
    """Pixels of the intersection and of the union of two masks (H, W); the target's foreground is where it is not 0."""
    intersection = int(np.count_nonzero(prediction & (target > 0)))
    sizes = int(np.count_nonzero(prediction)) + int(np.count_nonzero(target))
    return intersection, sizes - intersection


def iou_of(columns: Columns) -> Floats:
    """IoU of each expression of a split, (n,)."""
    return iou(columns["intersection"], columns["union"], columns.get("targets"))


def mean_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For the mean IoU: each expression's IoU, and 1."""
    ratios = iou_of(columns)
    return ratios, np.ones(len(ratios))


def overall_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For the overall IoU: each expression's intersection and union in pixels."""
    return columns["intersection"].astype(np.float64), columns["union"].astype(np.float64)


def _precision_terms(columns: Columns, threshold: float) -> tuple[Floats, Floats]:
    """For P@X: whether an expression's IoU is strictly above `threshold`, and whether it means something."""
    ratios = iou_of(columns)
    counted = np.ones(len(ratios))
    if "targets" in columns:
        counted = (columns["targets"] > 0).astype(np.float64)
    return (ratios > threshold) * counted, counted


def _precision(threshold: float) -> Metric:
    """The share of expressions with an IoU strictly above `threshold`, of those that mean something; 0 without such.

    The released code of CRIS, ETRIS and BarLeRIa counts what is strictly above; gRefCOCO's authors count "at least".
    """
    terms = partial(_precision_terms, threshold=threshold)
    metric = Metric(f"P@{threshold}", ratio_of_sums(terms, empty=0.0), terms=terms)
    if threshold == 0.5:
        # Not compared on gRefCOCO, where it is over fewer expressions than the two IoUs beside it.
        return replace(metric, compared="one target")
    return metric


def precision_name(threshold: float) -> str:
    """The key of P@X in METRICS: `p50` for 0.5."""
    return f"p{100 * threshold:g}"


IOU_METRICS = {
    "miou": Metric(
        "mIoU",
        ratio_of_sums(mean_terms),
        datasets="one target",
        role="mean",
        terms=mean_terms,
        compared="one target",
        note="mean over expressions of intersection / union (mIoU)",
    ),
    "oiou": Metric(
        "oIoU",
        ratio_of_sums(overall_terms, empty=0.0),
        datasets="one target",
        role="overall",
        terms=overall_terms,
        compared="one target",
    ),
}
"""Mean IoU, which CRIS, ETRIS and BarLeRIa print as "IoU"; and the sum of intersections over the sum of unions."""

PRECISION_METRICS = {precision_name(threshold): _precision(threshold) for threshold in THRESHOLDS}
