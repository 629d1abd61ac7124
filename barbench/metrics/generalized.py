"""Metrics of gRefCOCO, where an expression means one object, several or none.

As its authors define gIoU, cIoU, N-acc and T-acc (henghuiding/ReLA, gres_model/evaluation/refer_evaluation.py; T_acc is
that of later commits, TN / (TN + FP), as in the paper; a389648 had another). Nothing is found where the prediction has
no pixel.
"""

import numpy as np

from barbench.metrics.base import Columns, Counts, Floats, Metric, ratio_of_sums
from barbench.metrics.iou import mean_terms, overall_terms


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
        "100 if nothing is found, else 0; overall IoU is cIoU. A mask of fewer than 50 pixels counts as nothing. "
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
ACCURACY_METRICS = {
    "n_acc": Metric(
        "N-acc",
        ratio_of_sums(_no_target_terms),
        needs=("intersection", "union", "area", "targets"),
        datasets="any targets",
        terms=_no_target_terms,
        heading="N-acc: nothing is meant, nothing is found",
    ),
    "t_acc": Metric(
        "T-acc",
        ratio_of_sums(_target_terms),
        needs=("intersection", "union", "area", "targets"),
        datasets="any targets",
        terms=_target_terms,
        heading="T-acc: something is meant, something is found",
    ),
}
