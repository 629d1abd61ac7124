"""Metrics over objects, which several sentences name: does a model find an object whatever it is called?

All come from the counts of single expressions, and only where each expression means one object. An object is an
annotation of an image, (`image_id`, `ann_id`). All@t and its threshold with "at least" are InstanceBench's
(2608.30233); ICC(1) is that of Shrout & Fleiss (1979) for objects of unequal numbers of sentences.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, Literal, NamedTuple

import numpy as np

from barbench.metrics.base import Columns, Counts, End, Floats, Metric, detail_share
from barbench.metrics.iou import THRESHOLDS, iou_of, precision_name

ALL_THRESHOLDS: Final = (0.5, 0.7, 0.9)
SEVERAL: Final = 2
"""The fewest sentences of an object over which All@t and the worst sentence are printed."""
_NEEDS: Final = ("intersection", "union", "image_id", "ann_id")
"""The ids, also for metrics of single expressions: control scores, which have none, keep to the few that all have."""


class Objects(NamedTuple):
    """The objects of a split.

    Attributes:
        place: which object each expression means, (n,), from 0.
        first: an expression of each object, (O,): its position among the n.
        sentences: how many expressions mean each object, (O,).
    """

    place: Counts
    first: Counts
    sentences: Counts

    def sums(self, values: Floats) -> Floats:
        """Sums over each object's expressions, (n,) to (O,)."""
        return np.asarray(np.bincount(self.place, values, minlength=len(self.first)), np.float64)

    def least(self, values: Floats) -> Floats:
        """The smallest value of each object's expressions, (n,) to (O,)."""
        lowest = np.full(len(self.first), np.inf)
        np.minimum.at(lowest, self.place, values)
        return lowest


def objects_of(columns: Columns) -> Objects:
    """The objects that the expressions of a split mean.

    Args:
        columns: with `image_id` and `ann_id`, (n,) each.

    Returns:
        In the order of their ids.
    """
    keys = np.stack([columns["image_id"], columns["ann_id"]], axis=1)
    _, first, place, sentences = np.unique(keys, axis=0, return_index=True, return_inverse=True, return_counts=True)
    return Objects(place.reshape(-1), first, sentences)


def shared_objects(columns: Columns) -> list[tuple[int, int, tuple[int, ...]]]:
    """The objects that several references name, which count as one object here.

    Args:
        columns: with `image_id`, `ann_id` and `ref_id`, (n,) each.

    Returns:
        For each of them: image, annotation, and its references. Nearly always empty.
    """
    objects = objects_of(columns)
    references = columns["ref_id"]
    # Expressions whose reference is not that of their object's first expression.
    other = references != references[objects.first][objects.place]
    found = []
    for place in np.unique(objects.place[other]):
        first = objects.first[place]
        image_id = int(columns["image_id"][first])
        ann_id = int(columns["ann_id"][first])
        names = np.unique(references[objects.place == place])
        found.append((image_id, ann_id, tuple(map(int, names))))
    return found


def for_each_object(columns: Columns, objects: Objects, values: Floats, fewest: int) -> tuple[Floats, Floats]:
    """The terms of a mean over objects: an object's value and 1 beside its first expression, 0 beside the others."""
    counted = objects.sentences >= fewest
    numerators = np.zeros(len(columns["image_id"]))
    denominators = np.zeros(len(columns["image_id"]))
    numerators[objects.first] = values * counted
    denominators[objects.first] = counted
    return numerators, denominators


def all_terms(columns: Columns, threshold: float, fewest: int = SEVERAL) -> tuple[Floats, Floats]:
    """For All@t: of the objects with `fewest` sentences or more, those whose every sentence has an IoU of at least
    `threshold`."""
    objects = objects_of(columns)
    found = objects.least(iou_of(columns)) >= threshold
    return for_each_object(columns, objects, found.astype(np.float64), fewest)


def worst_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For the worst sentence: the lowest IoU of each object with SEVERAL sentences or more."""
    objects = objects_of(columns)
    return for_each_object(columns, objects, objects.least(iou_of(columns)), SEVERAL)


def object_mean_terms(columns: Columns) -> tuple[Floats, Floats]:
    """For the object mean: the mean IoU of each object's sentences."""
    objects = objects_of(columns)
    means = objects.sums(iou_of(columns)) / objects.sentences
    return for_each_object(columns, objects, means, fewest=1)


def spread_within(columns: Columns) -> float | None:
    """Pooled standard deviation of the IoU of one object's sentences; None where no object has two.

    sqrt(sum over objects and their sentences of (q - object's mean)^2 / sum over objects of (sentences - 1))
    """
    objects = objects_of(columns)
    free = len(objects.place) - len(objects.first)
    if free == 0:
        return None
    return float(np.sqrt(_squares_within(iou_of(columns), objects) / free))


def intraclass_correlation(columns: Columns) -> float | None:
    """ICC(1): the share of the IoU's variance that belongs to the object rather than to the sentence.

    (B - W) / (B + (m - 1) W), where B and W are the mean squares between and within objects and
    m = (n - sum of sentences^2 / n) / (objects - 1). It can be negative. None where it is not defined: for one object,
    for one sentence each, or where no score differs from another.
    """
    objects = objects_of(columns)
    ratios = iou_of(columns)
    n = len(ratios)
    between_free = len(objects.first) - 1
    within_free = n - len(objects.first)
    if between_free == 0 or within_free == 0:
        return None
    # The mean squares of the one-way analysis of variance.
    means = objects.sums(ratios) / objects.sentences
    deviations = means - ratios.mean()
    between = float((objects.sentences * deviations**2).sum()) / between_free
    within = _squares_within(ratios, objects) / within_free
    # The mean number of sentences where objects have different ones.
    squares = float((objects.sentences**2).sum())
    sentences = (n - squares / n) / between_free
    total = between + (sentences - 1) * within
    if total == 0:
        return None
    return (between - within) / total


def _squares_within(ratios: Floats, objects: Objects) -> float:
    means = objects.sums(ratios) / objects.sentences
    deviations = ratios - means[objects.place]
    return float((deviations**2).sum())


def at_least_terms(columns: Columns, threshold: float) -> tuple[Floats, Floats]:
    """For the weak P@X: whether an expression's IoU is at least `threshold`, and 1."""
    ratios = iou_of(columns)
    return (ratios >= threshold).astype(np.float64), np.ones(len(ratios))


def exact_ties(columns: Columns, threshold: float) -> int:
    """How many expressions have an IoU of exactly `threshold`: P@X "above" and "at least" differ by these.

    A quotient of two whole numbers in float64 is the float64 nearest to the true one, as `threshold` is, so that a tie
    is equal to the last bit.
    """
    return int(np.count_nonzero(iou_of(columns) == threshold))


class SizeRule(NamedTuple):
    """Two bounds on the size of an object that divide expressions into small, medium (bounds included) and large.

    Attributes:
        title: says whose bounds they are.
        low: below it an object is small.
        high: above it an object is large.
        share: whether bounds are shares of the image's area; else pixels of the image.
        labels: of the three.
    """

    title: str
    low: float
    high: float
    share: bool
    labels: tuple[str, str, str]


SIZES: Final = ("small", "medium", "large")
SIZE_RULES: Final = {
    "share": SizeRule("share of the image (PhraseCut)", 0.02, 0.2, True, ("< 2 %", "2-20 %", "> 20 %")),
    "coco": SizeRule("pixels of the image (COCO)", 32**2, 96**2, False, ("< 32²", "32²-96²", "> 96²")),
}


def size_terms(columns: Columns, rule: SizeRule, place: int) -> tuple[Floats, Floats]:
    """For the mean IoU of small (`place` 0), medium (1) or large (2) objects: an expression's IoU, and 1 if it is."""
    sizes = columns["area"].astype(np.float64)
    if rule.share:
        pixels = columns["height"] * columns["width"]
        sizes = sizes / np.maximum(pixels, 1)
    # How many of the two bounds an object exceeds.
    exceeded = (sizes >= rule.low).astype(int) + (sizes > rule.high)
    counted = (exceeded == place).astype(np.float64)
    return iou_of(columns) * counted, counted


_share = partial(detail_share, needs=_NEEDS)


def _number(label: str, function: Callable[[Columns], float | None], percent: bool, better: End = "high") -> Metric:
    """A metric of the detail that is no ratio of sums."""
    unit: Literal["%", ""] = "%" if percent else ""
    return Metric(label, function, unit, better, needs=_NEEDS, datasets="one target", detail=True)


def all_name(threshold: float) -> str:
    """The key of All@t in METRICS: `all70` for 0.7."""
    return f"all{100 * threshold:g}"


def weak_name(threshold: float) -> str:
    """The key of the weak P@X in METRICS: `p50_weak` for 0.5."""
    return f"{precision_name(threshold)}_weak"


def size_name(rule: str, place: int) -> str:
    """The key in METRICS of the mean IoU of small (0), medium (1) or large objects: `miou_share_small`."""
    return f"miou_{rule}_{SIZES[place]}"


OBJECT_METRICS: dict[str, Metric] = {}
"""Those of objects and sentences, the weak P@X, and the mean IoU by size."""

for _threshold in ALL_THRESHOLDS:
    OBJECT_METRICS[all_name(_threshold)] = _share(
        f"All@{_threshold}", partial(all_terms, threshold=_threshold), compared=_threshold == 0.7
    )
OBJECT_METRICS["worst"] = _share("worst sentence", worst_terms, compared=True)
OBJECT_METRICS["object_mean"] = _share("object mean", object_mean_terms)
OBJECT_METRICS["object_spread"] = _number("spread within objects", spread_within, percent=True, better="low")
OBJECT_METRICS["icc"] = _number("ICC(1)", intraclass_correlation, percent=False)
for _threshold in THRESHOLDS:
    OBJECT_METRICS[weak_name(_threshold)] = _share(
        f"P@{_threshold} at least", partial(at_least_terms, threshold=_threshold)
    )
for _name, _rule in SIZE_RULES.items():
    for _place in range(len(SIZES)):
        OBJECT_METRICS[size_name(_name, _place)] = _share(
            f"mIoU {_rule.labels[_place]}",
            partial(size_terms, rule=_rule, place=_place),
            needs=(*_NEEDS, "area", "height", "width"),
        )
