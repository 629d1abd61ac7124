"""How certain a difference between two methods is: a paired bootstrap over images, and the spread between training
runs.

`barbench compare` prints it. Expressions of one image are not independent, so images are resampled, and both methods
are scored on the same resampled images. With one run of each method, the interval says what other images would give
with these two trained models. With several runs (seeds), it says what other images and other runs would give.

The interval is t x standard error around the difference of the mean over the runs. Its variance has two parts:

    images   the bootstrap variance of that difference
    runs     (s^2 - w) / K, at least 0: s^2 is the variance of the K runs' differences, w the share of s^2 that the
             images' sampling explains (mean bootstrap variance of a run's difference less the mean covariance of two)

as for several readers of the same cases (Obuchowski & Rockette 1995; Hillis 2007). 1/df is the mean of 1/(n - 1) and
1/(K - 1), weighted by the two parts; n is Kish's effective number of images, (sum w)^2 / sum w^2, where an image weighs
w by its expressions (mIoU, P@X) or its pixels (oIoU). Satterthwaite's formula, which weights by the parts' squares,
covers less if runs differ much (92 % at three seeds). Drawing two or three seeds with replacement finds only (K - 1)/K
of their variance and covers 62 to 80 % there.

In 1,000 simulated comparisons (`tests/results/test_bootstrap.py`) it covers the true difference in 93 to 97 % for 20 to
1,500 images with one, three or five runs, and with two runs that differ little; in 87 to 95 % with two runs that differ
as much as images do, or more. Of the other intervals that were tried on 60 images, BCa covered 85 to 94 %, basic 89 to
95 %, percentile 91 to 95 %, and the studentised interval 90 to 95 %, while 1 to 35 % wider.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from barbench.metrics import Counts, Floats, iou
from barbench.student import student

METRICS: Final = ("mIoU", "oIoU", "P@0.5")
FIELDS: Final = ("expressions", "iou", "above_half", "intersection", "union")
_CHUNK: Final = 500


class Interval(NamedTuple):
    """A difference (first minus second, as a fraction) and its confidence interval."""

    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside the interval."""
        return not self.low <= 0 <= self.high


def image_sums(
    images: Counts,
    intersections: Counts,
    unions: Counts,
    targets: Counts | None = None,
) -> tuple[Counts, Floats]:
    """Sum over the expressions of each image.

    IoU is 0 if both masks are empty, and counts as above one half strictly, as in `barbench.metrics`.

    Args:
        images: image ids, (n,), one per expression.
        intersections: pixels, (n,).
        unions: pixels, (n,).
        targets: number of objects that are meant, (n,), as gRefCOCO's arrays have it; None: one each.

    Returns:
        Sorted image ids (I,), and float64 (I, 5) sums in the order of FIELDS.
    """
    ids, place = np.unique(images, return_inverse=True)
    ratios = iou(intersections, unions, targets)
    columns = (np.ones(len(ratios)), ratios, ratios > 0.5, intersections, unions)
    return ids, np.stack([np.bincount(place, column, minlength=len(ids)) for column in columns], axis=-1)


def metrics(totals: Floats) -> Floats:
    """Metrics from sums over expressions.

    Args:
        totals: (..., 5), in the order of FIELDS.

    Returns:
        (..., 3), in the order of METRICS, as fractions.
    """
    expressions, ratios, above, intersection, union = np.moveaxis(totals, -1, 0)
    return np.stack([ratios / expressions, iou(intersection, union), above / expressions], axis=-1)


def paired_intervals(sums: Floats, *, resamples: int = 10_000, seed: int = 0) -> list[Interval]:
    """Confidence intervals for the difference between two methods.

    Args:
        sums: float64 (K, 2, I, 5): runs, the two methods, images, FIELDS; run k of both methods is one pair (in
            practice one seed).
        resamples: number of resamples of the images.
        seed: of the resampling; the same seed gives the same intervals.

    Returns:
        One interval per metric, in the order of METRICS.

    Raises:
        ValueError: for fewer than two images.
    """
    images = sums.shape[2]
    if images < 2:
        raise ValueError("an interval over images needs at least two of them")
    differences = _differences(sums.sum(axis=2))
    drawn = _resampled(sums, resamples, np.random.default_rng(seed))
    weights = sums.mean(0).sum(0)  # (I, FIELDS)
    expressions, union = (effective_images(weights[:, FIELDS.index(name)]) for name in ("expressions", "union"))
    effective = (expressions, union, expressions)
    return [_interval(differences[:, m], drawn[:, :, m], images, effective[m]) for m in range(len(METRICS))]


def _differences(totals: Floats) -> Floats:
    """Totals (..., 2, 5) to first minus second, (..., 3)."""
    scores = metrics(totals)
    return np.asarray(scores[..., 0, :] - scores[..., 1, :])


def _resampled(sums: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Differences (resamples, K, 3) on images drawn with replacement, the same images for all runs."""
    runs, methods, images, fields = sums.shape
    flat = np.ascontiguousarray(sums.transpose(2, 0, 1, 3)).reshape(images, -1)
    parts = []
    for begin in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - begin)
        drawn = rng.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images)  # as a multinomial, faster
        parts.append(_differences((counts.astype(np.float64) @ flat).reshape(-1, runs, methods, fields)))
    return np.concatenate(parts)


def effective_images(weights: Floats) -> float:
    """Kish's effective sample size.

    Args:
        weights: of the images, (I,).

    Returns:
        How many equally weighted images are worth as much.
    """
    return float(weights.sum() ** 2 / max((weights**2).sum(), 1))


class Spread(NamedTuple):
    """A mean over runs and its uncertainty.

    Attributes:
        mean: over the runs.
        error: standard error over images and runs.
        freedom: degrees of freedom.
    """

    mean: float
    error: float
    freedom: float

    @property
    def margin(self) -> float:
        """Half the width of the 95 % interval."""
        return student(self.freedom) * self.error


def spread(values: Floats, drawn: Floats, images: int, effective: float) -> Spread:
    """The spread of a quantity that each run gives.

    Args:
        values: (K,), one per run.
        drawn: (R, K), the same on resampled images.
        images: how many images were resampled.
        effective: Kish's number of equally weighted ones among them.

    Returns:
        Mean, standard error, and degrees of freedom.
    """
    runs, middle = len(values), float(values.mean())
    covariance = np.atleast_2d(np.cov(drawn, rowvar=False)) * images / (images - 1)  # resampling n gives (n - 1)/n
    by_images = float(covariance.mean())
    few_images = 1 / max(effective - 1, 1)
    by_runs, inverse_df = 0.0, few_images
    if runs > 1:
        together = (covariance.sum() - np.trace(covariance)) / (runs * (runs - 1))
        explained = float(np.trace(covariance) / runs - together)
        by_runs = max(0.0, (float(values.var(ddof=1)) - explained) / runs)
        share = by_runs / (by_images + by_runs) if by_runs else 0.0
        inverse_df = (1 - share) * few_images + share / (runs - 1)
    return Spread(middle, math.sqrt(max(by_images + by_runs, 0.0)), 1 / inverse_df)


def _interval(differences: Floats, drawn: Floats, images: int, effective: float) -> Interval:
    """`differences` (K,), one per run; `drawn` (R, K), the same on resampled images."""
    found = spread(differences, drawn, images, effective)
    return Interval(found.mean, found.mean - found.margin, found.mean + found.margin)
