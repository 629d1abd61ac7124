"""Metrics of gRefCOCO, R-RefCOCO and Ref-ZOM, where an expression means one object, several or none.

As its authors define gIoU, cIoU, N-acc and T-acc (henghuiding/ReLA, gres_model/evaluation/refer_evaluation.py; T_acc is
that of later commits, TN / (TN + FP), as in the paper; a389648 had another). Nothing is found where the prediction has
no pixel.
"""

import numpy as np
from numpy.typing import NDArray

from barbench.metrics.base import Columns, Counts, Floats, Metric, Terms, ratio_of_sums
from barbench.metrics.iou import iou_of, mean_terms, overall_terms


def predicted_pixels(columns: Columns) -> Counts:
    """Size of each predicted mask in pixels, (n,): |P| = U - A + I."""
    return np.asarray(columns["union"] - columns["area"] + columns["intersection"])


def _no_target_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For N-acc: of the expressions that mean nothing, those for which nothing was found."""
    counted = columns["targets"] == 0
    right = counted & (predicted_pixels(columns) == 0)
    return right.astype(np.float64), counted.astype(np.float64)


def _target_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For T-acc: of the expressions that mean something, those for which something was found."""
    counted = columns["targets"] > 0
    right = counted & (predicted_pixels(columns) > 0)
    return right.astype(np.float64), counted.astype(np.float64)


def _present_mean_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For the mean IoU of the expressions that mean something."""
    counted = (columns["targets"] > 0).astype(np.float64)
    return iou_of(columns) * counted, counted


def _present_overall_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For the overall IoU of the expressions that mean something."""
    counted = columns["targets"] > 0
    intersections, unions = overall_terms(columns)
    return intersections * counted, unions * counted


def _per_group(columns: Columns, counted: NDArray[np.bool_]) -> Floats:
    """The weight of each expression, (n,), with which the counted ones of a group weigh 1 together; 0 of the others."""
    _, groups = np.unique(columns["group"], return_inverse=True)
    # A group without a counted expression has none to weigh: the divisor is never 0.
    sizes = np.bincount(groups, counted)
    return np.asarray(counted / np.maximum(sizes[groups], 1))


def _group_mean_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For the mean over groups of the mean IoU of their expressions that mean something."""
    weights = _per_group(columns, columns["targets"] > 0)
    return iou_of(columns) * weights, weights


def _group_rejection_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For the mean over groups of the share of their expressions that mean nothing for which nothing is found; groups
    without such are left out."""
    weights = _per_group(columns, columns["targets"] == 0)
    return weights * (predicted_pixels(columns) == 0), weights


def _group_robust_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For the mean over groups of sum I of what is present / (sum U of it + pixels found for what is absent); groups in
    which nothing is present are left out."""
    _, groups = np.unique(columns["group"], return_inverse=True)
    present = columns["targets"] > 0
    intersections, unions = overall_terms(columns)
    # Where nothing is meant, the union is what was found.
    totals = np.bincount(groups, unions)
    # Each expression has its share of the group's ratio, so that their sum is that ratio.
    has_present = np.bincount(groups, present) > 0
    weights = _per_group(columns, np.asarray(has_present[groups]))
    return intersections / np.maximum(totals[groups], 1), weights


GENERALIZED_METRICS = {
    "giou": Metric(
        "gIoU",
        ratio_of_sums(mean_terms),
        needs=("intersection", "union", "targets"),
        datasets="any targets",
        role="mean",
        terms=mean_terms,
        compared="any targets",
        note="gIoU, the mean over expressions of intersection / union, where an expression that means nothing counts "
        "100 if nothing is found, else 0; overall IoU is cIoU. On gRefCOCO a mask of fewer than 50 pixels is nothing. "
        "Swapped: mean IoU of the expressions that mean something",
    ),
    "ciou": Metric(
        "cIoU",
        ratio_of_sums(overall_terms, empty=0.0),
        datasets="any targets",
        role="overall",
        terms=overall_terms,
        compared="any targets",
    ),
}


def _section(label: str, terms: Terms, heading: str, *, needs: tuple[str, ...] = ()) -> Metric:
    """A metric that has a section of its own in the tables; `needs` beside the columns that all of them read."""
    return Metric(
        label,
        ratio_of_sums(terms),
        needs=("intersection", "union", "targets", *needs),
        datasets="any targets",
        terms=terms,
        heading=heading,
    )


PRESENT_METRICS = {
    "present_miou": _section(
        "T-mIoU",
        _present_mean_terms,
        "T-mIoU: mean IoU of the expressions that mean something (Ref-ZOM's mIoU)",
    ),
    "present_oiou": _section(
        "T-oIoU",
        _present_overall_terms,
        "T-oIoU: overall IoU of the expressions that mean something (Ref-ZOM's oIoU; its Acc is N-acc)",
    ),
}
"""As toggle1995/RIS-DMMI at 753cd60 defines them for Ref-ZOM, at the image's own size rather than at 480 pixels."""

GROUP_METRICS = {
    "group_miou": _section(
        "mIoU of references",
        _group_mean_terms,
        "Mean over references of the mean IoU of their sentences that mean something (R-RefCOCO's mIoU)",
        needs=("area", "group"),
    ),
    "mrr": _section(
        "mRR",
        _group_rejection_terms,
        "mRR: of the sentences that mean nothing, those without a pixel, as a mean over references",
        needs=("area", "group"),
    ),
    "riou": _section(
        "rIoU (image pixels)",
        _group_robust_terms,
        "rIoU at image pixels: mean over references of I / (U + pixels found where nothing is meant)",
        needs=("area", "group"),
    ),
}
"""As jianzongwu/robust-ref-seg at e7c7da6 defines them, except that all pixels are the image's: there, those of
sentences that mean nothing are counted at the network's size. A reference without such has no part in mRR."""

ACCURACY_METRICS = {
    "n_acc": _section("N-acc", _no_target_terms, "N-acc: nothing is meant, nothing is found", needs=("area",)),
    "t_acc": _section("T-acc", _target_terms, "T-acc: something is meant, something is found", needs=("area",)),
}
