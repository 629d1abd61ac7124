"""The standard error of a ratio of sums whose terms come in clusters: expressions of one image, or of one object.

A formula for what resampling images estimates (`results.bootstrap`): the ratio linearized around its value. With R the
ratio and r_c = N_c - R D_c the residual of cluster c, of which there are m,

    error = sqrt(m / (m - 1) sum r_c^2) / sum D_c

and Student's t has m - 1 degrees of freedom. Images are the clusters that count: expressions of two objects of one
image are not independent either. InstanceBench takes objects; `design_effect` compares the two.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from barbench.metrics import Columns, Counts, Floats, Metric, objects_of
from barbench.results.interval import Interval, interval_around, student


class ClusteredRatio(NamedTuple):
    """A ratio of sums, its standard error, and the number of clusters that its denominator counts."""

    ratio: float
    error: float
    clusters: int

    @property
    def interval(self) -> Interval:
        """The 95 % interval; without ends where there is one cluster, and where none differs from another: then the
        formula finds no error, as at 0 of 100 successes, and an interval of no width would claim too much."""
        if self.clusters < 2 or self.error == 0:
            return Interval(self.ratio)
        return interval_around(self.ratio, student(self.clusters - 1) * self.error)


class ClusteredScore(NamedTuple):
    """A score with its error by image, and by object."""

    by_image: ClusteredRatio
    by_object: ClusteredRatio

    @property
    def design_effect(self) -> float | None:
        """The variance by image over that by object; None where there is none."""
        if self.by_image.clusters < 2 or not self.by_object.error:
            return None
        return (self.by_image.error / self.by_object.error) ** 2


def clustered_ratio(numerators: Floats, denominators: Floats, clusters: Counts) -> ClusteredRatio:
    """The ratio of two sums over n expressions, with a NaN for the error where there is one cluster.

    Args:
        numerators: (n,).
        denominators: (n,); their sum is not 0.
        clusters: which cluster each expression is of, (n,), from 0.
    """
    sums = np.bincount(clusters, numerators)
    weights = np.bincount(clusters, denominators)
    total = float(weights.sum())
    ratio = float(sums.sum()) / total
    # Of a score over few expressions, as small objects, only their images are a sample.
    count = int(np.count_nonzero(weights))
    if count < 2:
        return ClusteredRatio(ratio, float("nan"), count)
    # What each cluster adds to the deviation of the ratio, to first order.
    residuals = sums - ratio * weights
    error = float(np.sqrt(count / (count - 1) * (residuals**2).sum())) / total
    return ClusteredRatio(ratio, error, count)


def clustered_score(metric: Metric, runs: Sequence[Columns]) -> ClusteredScore:
    """A metric with terms over the runs of one method, which scored the same images: the ratio over all runs, whose
    errors cover other images, not other runs."""
    assert metric.terms is not None
    # All runs one after another: the expressions of an image are one cluster, whichever run they are of.
    numerators, denominators = np.concatenate([metric.terms(columns) for columns in runs], axis=1)
    ids = {}
    for name in ("image_id", "ann_id"):
        ids[name] = np.concatenate([columns[name] for columns in runs])
    _, images = np.unique(ids["image_id"], return_inverse=True)
    return ClusteredScore(
        clustered_ratio(numerators, denominators, images),
        clustered_ratio(numerators, denominators, objects_of(ids).place),
    )
