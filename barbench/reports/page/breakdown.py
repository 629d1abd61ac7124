"""Scores by properties of an expression, from the arrays beside a record: pure numbers, for the page that `barbench
report --format html` writes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from barbench.metrics import Counts, Floats
from barbench.results.interval import Interval, resample, student

BAND_RESAMPLES = 1000
WORD_BANDS = {"short": (1, 3, 4, 6), "long": (1, 6, 8, 11)}
"""First number of words of each band; G-Ref's expressions are long, those of the others short."""


class Bands(NamedTuple):
    """Expressions in bands.

    Attributes:
        places: the band of each expression, (expressions,).
    """

    labels: tuple[str, ...]
    places: Counts


def precision(ious: Floats, thresholds: Floats) -> Floats:
    """P@X: for each threshold X, the share of expressions with an IoU strictly above it.

    >>> precision(np.array([0.2, 0.5, 0.9]), np.array([0.0, 0.5])).round(2).tolist()
    [1.0, 0.33]
    """
    ordered = np.sort(ious)
    return 1 - np.searchsorted(ordered, thresholds, side="right") / len(ordered)


def by_words(words: Counts) -> Bands:
    """Bands of WORD_BANDS by the number of words; the long ones if the median is six or more."""
    firsts = WORD_BANDS["long" if np.median(words) >= 6 else "short"]
    labels = []
    for first, after in pairwise(firsts):
        last = after - 1
        labels.append(f"{first}" if first == last else f"{first}–{last}")
    labels.append(f"{firsts[-1]}+")
    places = np.searchsorted(firsts, words, side="right") - 1
    return _held(labels, np.maximum(places, 0))


def by_size(shares: Floats) -> Bands:
    """At most four bands with equally many expressions, by the object's share of the image, small objects first."""
    # Quartiles as borders, without those that would leave a band empty.
    borders = np.unique(np.quantile(shares, (0.25, 0.5, 0.75)))
    divides = (borders > shares.min()) & (borders <= shares.max())
    borders = borders[divides]
    if not len(borders):
        return Bands(("all",), np.zeros(len(shares), np.int64))

    # Their names, in percent of the image.
    percent = [f"{100 * border:.2g}" for border in borders]
    labels = [f"under {percent[0]} %"]
    for low, high in pairwise(percent):
        labels.append(f"{low}–{high} %")
    labels.append(f"over {percent[-1]} %")
    places = np.searchsorted(borders, shares, side="right")
    return _held(labels, places)


def by_kind(kinds: Counts, names: Sequence[str]) -> Bands:
    """One band for each of the kinds that occur, positions in `names`; ValueError for a kind without a name."""
    numbers = np.unique(kinds).tolist()
    if not set(numbers) <= set(range(len(names))):
        raise ValueError(f"kinds {numbers}, but there are names for {len(names)}")
    return _held(names, kinds)


def _held(labels: Sequence[str], places: Counts) -> Bands:
    """The bands that hold an expression: one without has no mean, and nothing to draw."""
    present, index = np.unique(places, return_inverse=True)
    held = tuple(labels[place] for place in present)
    return Bands(held, index)


class BandScore(NamedTuple):
    """Mean IoU of the `n` expressions of a band as a fraction, with its interval unless they are of a single image."""

    iou: Interval
    n: int


def means(ious: Floats, bands: Bands, images: Counts) -> list[BandScore]:
    """Mean IoU of each band with a 95 % interval: Student's t times the standard error of a bootstrap.

    Whole images are resampled, `BAND_RESAMPLES` times, because the expressions of one image are not independent. The
    draws are the same at every call, so the same arrays give the same interval. Ends stay within 0 and 1. `ious` are
    fractions and `images` the images of the expressions, (expressions,) both.
    """
    # Number of expressions and sum of their IoU, for each image and band: (images, bands).
    distinct, image = np.unique(images, return_inverse=True)
    number = len(bands.labels)
    shape = (len(distinct), number)
    size = len(distinct) * number
    cell = image * number + bands.places
    counts = np.bincount(cell, minlength=size).reshape(shape)
    sums = np.bincount(cell, ious, minlength=size).reshape(shape)

    # The mean of each band on resampled images; NaN where a resample has no expression of the band.
    totals = resample(np.hstack([sums, counts]), BAND_RESAMPLES)
    with np.errstate(invalid="ignore"):
        drawn = totals[:, :number] / totals[:, number:]

    found = []
    for band in range(number):
        n = int(counts[:, band].sum())
        mean = float(sums[:, band].sum() / n)
        with_band = np.count_nonzero(counts[:, band])
        margin = _margin(drawn[:, band], int(with_band))
        low, high = np.clip([mean - margin, mean + margin], 0, 1)
        found.append(BandScore(Interval(mean, float(low), float(high)), n))
    return found


def _margin(drawn: Floats, images: int) -> float:
    """Half an interval's width from means over resampled images; NaN for a single image."""
    if images < 2:
        return np.nan
    # Resampling k images finds (k - 1) / k of the variance.
    variance = np.nanvar(drawn) * images / (images - 1)
    return float(np.sqrt(variance) * student(images - 1))
