"""Which object, or which pixels: whether a prediction shows the object that is meant or another of its category.

From the predictions' intersections with the other objects of their images, so that thresholds can be chosen later. The
similarity of a prediction P and an object G is |P and G| / sqrt(|P| |G|), 0 for an empty P. Among the objects of the
target's category, the most similar one is what is shown if its similarity is at least 0.10 and at least 0.05 above the
second; else nothing is clearly shown. Similarity, thresholds, All-target and NCI are InstanceBench's (2608.30233). All
of it is over expressions with a rival: another object of the same category in the image.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from barbench.metrics.base import Columns, Counts, Floats, Metric, detail_share
from barbench.metrics.generalized import predicted_pixels
from barbench.metrics.iou import iou_of
from barbench.metrics.objects import for_each_object, objects_of

LEAST: Final = 0.10
"""The similarity from which on an object is shown."""
MARGIN: Final = 0.05
"""By how much it must be the most similar one."""
LEAST_TRIED: Final = (0.05, 0.10, 0.20)
MARGINS_TRIED: Final = (0.0, 0.05, 0.10)
"""Thresholds of the sensitivity table."""
SUCCESS: Final = 0.5
"""The IoU from which on a mask succeeds; below it, an expression is a failure."""
RIVAL_STRATA: Final = ("0", "1", "2", "3+")
"""Numbers of rivals for which the mean IoU is printed apart."""

Rivals = Mapping[str, Counts]
"""Int64 columns of equal length: `row`, the place of an expression; `ann_id`, `category_id`, `intersection`, `area` of
another object of its image."""


def identity_columns(columns: Columns, rivals: Rivals) -> dict[str, Counts | Floats]:
    """What the metrics of this module read, from the long table of rivals.

    Args:
        columns: of the split, (n,) each.
        rivals: of the same expressions.

    Returns:
        Columns (n,): `rivals`, the number of other objects of the target's category; `s_target`, `s_rival` and
        `s_rival_2`, the similarity of the prediction with the target and with the two most similar rivals, 0 where
        there are fewer; `donors`, the number of rivals that other expressions of the split mean, and `donors_lost`,
        how many of them are less similar to the prediction than its target.
    """
    n = len(columns["intersection"])
    sizes = predicted_pixels(columns)
    target = similarity(columns["intersection"], sizes, columns["area"])
    # Of the other objects, those of the target's category.
    category = columns["category_id"][rivals["row"]]
    same = (rivals["category_id"] == category) & (category >= 0)
    row = rivals["row"][same]
    similar = similarity(rivals["intersection"][same], sizes[row], rivals["area"][same])

    # The two most similar rivals: with the rows sorted by expression, then from high to low.
    order = np.lexsort((-similar, row))
    from_high = similar[order]
    starts = np.searchsorted(row[order], np.arange(n))
    count = np.bincount(row, minlength=n)
    best = [np.zeros(n), np.zeros(n)]
    for place, values in enumerate(best):
        there = count > place
        values[there] = from_high[starts[there] + place]

    # The rivals that other expressions mean: those whose image and annotation are an object of the split.
    meant = set(zip(columns["image_id"].tolist(), columns["ann_id"].tolist(), strict=True))
    images = columns["image_id"][row].tolist()
    ann_ids = rivals["ann_id"][same].tolist()
    donor = np.array([key in meant for key in zip(images, ann_ids, strict=True)], bool)
    lost = donor & (similar < target[row])
    return {
        "rivals": count,
        "s_target": target,
        "s_rival": best[0],
        "s_rival_2": best[1],
        "donors": np.bincount(row[donor], minlength=n),
        "donors_lost": np.bincount(row[lost], minlength=n),
    }


def similarity(intersections: Counts, predicted: Counts, areas: Counts) -> Floats:
    """Intersection over the geometric mean of two sizes, of any shape; 0 where a mask is empty.

    >>> similarity(np.array([10]), np.array([15]), np.array([20])).round(4).tolist()
    [0.5774]
    """
    products = np.maximum(predicted.astype(np.float64) * areas, 1.0)
    return np.asarray(intersections / np.sqrt(products))


def outcomes(columns: Columns, least: float = LEAST, margin: float = MARGIN) -> Counts:
    """What each prediction shows.

    Args:
        columns: with those of `identity_columns`, (n,) each.
        least: the similarity from which on an object is shown.
        margin: by how much it must be the most similar one; of two equal ones none is shown.

    Returns:
        (n,): 1 for the target, -1 for another object of its category, 0 for nothing clear. Without a rival, 0.
    """

    def is_shown(most: Floats, second: Floats) -> NDArray[np.bool_]:
        return (most >= least) & (most > second) & (most - second >= margin)

    target = columns["s_target"]
    rival = columns["s_rival"]
    right = is_shown(target, rival)
    wrong = is_shown(rival, np.maximum(target, columns["s_rival_2"]))
    shown = right.astype(np.int64) - wrong
    return np.where(columns["rivals"] > 0, shown, 0)


def _is_right(columns: Columns) -> Floats:
    """1 for each expression whose prediction shows the target, else 0, (n,)."""
    return np.asarray(outcomes(columns) == 1, dtype=np.float64)


def right_terms(columns: Columns, least: float = LEAST, margin: float = MARGIN) -> tuple[Floats, Floats]:
    """For "target right": of the expressions with a rival, those whose prediction shows the target."""
    return _share_of(columns, outcomes(columns, least, margin) == 1)


def _shown_terms(columns: Columns, outcome: int) -> tuple[Floats, Floats]:
    """Of the expressions with a rival, those with that outcome."""
    return _share_of(columns, outcomes(columns) == outcome)


def _failure_terms(columns: Columns, outcome: int) -> tuple[Floats, Floats]:
    """Of the expressions with a rival, those with that outcome whose mask fails."""
    return _share_of(columns, (outcomes(columns) == outcome) & (iou_of(columns) < SUCCESS))


def _identity_error_terms(columns: Columns) -> tuple[Floats, Floats]:
    """Of the expressions with a rival, those whose mask fails and does not show the target."""
    return _share_of(columns, (outcomes(columns) != 1) & (iou_of(columns) < SUCCESS))


def _share_of(columns: Columns, found: Counts) -> tuple[Floats, Floats]:
    counted = columns["rivals"] > 0
    return (found & counted).astype(np.float64), counted.astype(np.float64)


def all_target_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For All-target: of the objects with a rival, those that every sentence shows."""
    objects = objects_of(columns)
    right = objects.least(_is_right(columns))
    numerators, denominators = for_each_object(columns, objects, right, fewest=1)
    counted = columns["rivals"] > 0
    return numerators * counted, denominators * counted


def _quality_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For the mask quality given the target: the IoU of the expressions with a rival whose target is shown."""
    right = _is_right(columns)
    return iou_of(columns) * right, right


def _retention_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For the retention: of the expressions with a rival whose target is shown, those whose mask succeeds too."""
    right = _is_right(columns)
    return right * (iou_of(columns) >= SUCCESS), right


def coincidence(columns: Columns) -> float | None:
    """NCI, how far the successes of mask and identity coincide: 0 as if independent, 1 as far as their shares allow.

    (p_mx - p_m p_x) / (min(p_m, p_x) - p_m p_x) with the shares of mask success m, identity success x and both, over
    the expressions with a rival. None where the divisor is 0, and without such expressions.
    """
    counted = columns["rivals"] > 0
    if not counted.any():
        return None
    # The shares of both successes, and of both together.
    mask = iou_of(columns)[counted] >= SUCCESS
    shown = outcomes(columns)[counted] == 1
    p_m = float(mask.mean())
    p_x = float(shown.mean())
    divisor = min(p_m, p_x) - p_m * p_x
    if divisor == 0:
        return None
    return (float((mask & shown).mean()) - p_m * p_x) / divisor


def _donor_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For the donor preference: pairs of an object and a sentence of another one of its category and image; of these,
    those whose prediction is more similar to the object that the sentence is of. The prediction for that sentence is
    there already, as the one of its own object."""
    return columns["donors_lost"].astype(np.float64), columns["donors"].astype(np.float64)


def _stratum_terms(columns: Columns, place: int) -> tuple[Floats, Floats]:
    """For the mean IoU of the expressions with that number of rivals; the last place is for that number or more."""
    counted = (np.minimum(columns["rivals"], len(RIVAL_STRATA) - 1) == place).astype(np.float64)
    return iou_of(columns) * counted, counted


def presence_auroc(columns: Columns) -> float | None:
    """The share of pairs of an expression with a target and one without in which the first has the higher `peak`, half
    where they are equal (Mann & Whitney); None without such pairs."""
    present = columns["targets"] > 0
    return auroc(columns["peak"][present], columns["peak"][~present])


def auroc(high: Counts, low: Counts) -> float | None:
    """The share of pairs of a value of `high` (n,) and one of `low` (m,) in which the first is larger, half where they
    are equal (Mann & Whitney); 0.5 is chance, None is without a pair.

    >>> auroc(np.array([3, 4]), np.array([1, 3]))
    0.875
    """
    pairs = len(high) * len(low)
    if pairs == 0:
        return None
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, side="left")
    not_above = np.searchsorted(ordered, high, side="right")
    # Of each value of `high`: the values of `low` below it, and half of those that are equal.
    return float((below + not_above).sum() / (2 * pairs))


_NEEDS: Final = ("intersection", "union", "area", "image_id", "ann_id", "rivals", "s_target", "s_rival", "s_rival_2")


_share = partial(detail_share, needs=_NEEDS)


def strata_name(place: int) -> str:
    """The key in METRICS of the mean IoU of expressions with that number of rivals: `miou_rivals_0`."""
    return f"miou_rivals_{place}"


IDENTITY_METRICS: dict[str, Metric] = {
    "target_right": _share("target right", right_terms, compared=True),
    "target_wrong": _share("target wrong", partial(_shown_terms, outcome=-1), better="low"),
    "target_unresolved": _share("target unresolved", partial(_shown_terms, outcome=0), better="low"),
    "all_target": _share("All-target", all_target_terms),
    "quality_given_target": _share("mask quality given the target", _quality_terms, compared=True),
    "identity_error": _share("identity error", _identity_error_terms, compared=True, better="low"),
    "switch": _share("switch to another object", partial(_failure_terms, outcome=-1), better="low"),
    "poor_mask": _share("poor mask of the target", partial(_failure_terms, outcome=1), compared=True, better="low"),
    "retention": _share("retention", _retention_terms),
    "nci": Metric("NCI", coincidence, unit="", needs=_NEEDS, datasets="one target", detail=True),
    "donor_preference": _share("donor preference", _donor_terms, needs=(*_NEEDS, "donors", "donors_lost")),
}
"""Of expressions with a rival; all but the mask quality, the retention and NCI are shares of them, of objects or of
pairs."""

for _place, _label in enumerate(RIVAL_STRATA):
    IDENTITY_METRICS[strata_name(_place)] = _share(
        f"mIoU {_label} rivals", partial(_stratum_terms, place=_place), needs=("intersection", "union", "rivals")
    )

PRESENCE_METRICS: dict[str, Metric] = {
    "auroc_peak": Metric(
        "AUROC of peak", presence_auroc, needs=("intersection", "peak", "targets"), datasets="any targets", detail=True
    ),
}
