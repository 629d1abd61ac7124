"""Scores split up by what an expression is like: numbers written out, and the interval against the closed form."""

import numpy as np
import pytest

from barbench.reports.page.breakdown import Bands, by_kind, by_size, by_words, means, precision


def test_precision_counts_what_is_strictly_above() -> None:
    ious = np.array([0.5, 0.9, 0.6, 0.0, 0.55])
    assert precision(ious, np.array([0.0, 0.5, 0.55, 0.9])) == pytest.approx([0.8, 0.6, 0.4, 0.0])


def test_precision_agrees_with_a_plain_count() -> None:
    ious, thresholds = np.random.default_rng(0).random(500).round(2), np.linspace(0, 1, 101)
    assert precision(ious, thresholds) == pytest.approx([(ious > t).mean() for t in thresholds])


def test_bands_of_short_expressions() -> None:
    bands = by_words(np.array([0, 1, 2, 3, 4, 5, 6, 19]))
    assert bands.labels == ("1–2", "3", "4–5", "6+")
    assert bands.places.tolist() == [0, 0, 0, 1, 2, 2, 3, 3]


def test_bands_of_long_expressions() -> None:
    bands = by_words(np.array([1, 5, 6, 7, 8, 10, 11, 40]))
    assert bands.labels == ("1–5", "6–7", "8–10", "11+")
    assert bands.places.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_size_bands_hold_a_quarter_each() -> None:
    shares = np.arange(1, 81) / 90
    bands = by_size(np.random.default_rng(1).permutation(shares))
    assert np.bincount(bands.places).tolist() == [20, 20, 20, 20]
    assert bands.labels == ("under 23 %", "23–45 %", "45–67 %", "over 67 %")
    assert by_size(shares).places.tolist() == sorted(by_size(shares).places.tolist())


def test_equal_sizes_share_a_band() -> None:
    assert by_size(np.full(9, 0.2)).labels == ("all",)
    two = by_size(np.array([0.1] * 6 + [0.3] * 2))
    assert (two.labels, np.bincount(two.places).tolist()) == (("under 15 %", "over 15 %"), [6, 2])


def test_kinds_that_do_not_occur_have_no_band() -> None:
    bands = by_kind(np.array([2, 0, 2]), ("bare name", "attribute", "location"))
    assert (bands.labels, bands.places.tolist()) == (("bare name", "location"), [1, 0, 1])
    with pytest.raises(ValueError, match="names for 2"):
        by_kind(np.array([0, 2]), ("bare name", "attribute"))


def test_means_of_bands() -> None:
    bands = Bands(("a", "b", "c"), np.array([0, 0, 1, 1, 2]))
    found = means(np.array([0.2, 0.4, 1.0, 0.0, 0.7]), bands, np.array([5, 6, 5, 6, 7]))
    assert [(round(f.iou.mean, 6), f.n) for f in found] == [(0.3, 2), (0.5, 2), (0.7, 1)]
    assert all(f.iou.low <= f.iou.mean <= f.iou.high for f in found[:2])
    assert np.isnan(found[2].iou[1:]).all()


def test_the_interval_resamples_images_not_expressions() -> None:
    """Against the closed form: the standard error of a ratio of sums over clusters (linearised)."""
    rng = np.random.default_rng(3)
    images = np.repeat(np.arange(400), rng.integers(1, 6, 400))
    ious = np.clip(rng.normal(0.5, 0.2, 400)[images] + rng.normal(0, 0.05, len(images)), 0, 1)
    [found] = means(ious, Bands(("all",), np.zeros(len(images), np.int64)), images)
    sums, counts = np.bincount(images, ious), np.bincount(images)
    clustered = np.sqrt(((sums - found.iou.mean * counts) ** 2).sum()) / counts.sum()
    naive = ious.std() / np.sqrt(len(ious))
    assert found.iou.high - found.iou.low == pytest.approx(2 * 1.96 * clustered, rel=0.1)
    assert found.iou.high - found.iou.low > 1.5 * 2 * 1.96 * naive


def test_same_arrays_same_interval() -> None:
    rng = np.random.default_rng(4)
    ious, images = rng.random(60), rng.integers(0, 20, 60)
    bands = by_words(rng.integers(1, 8, 60))
    assert means(ious, bands, images) == means(ious.copy(), bands, images + 7)
