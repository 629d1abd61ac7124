"""Clustered intervals: an example by hand, and agreement with resampling."""

import math

import numpy as np
import pytest

from barbench.metrics import METRICS
from barbench.results.bootstrap import image_sums, scores_of_sums
from barbench.results.clustered import clustered_score
from barbench.results.interval import resample
from tests.metrics.test_objects import HAND


def test_the_example_by_hand() -> None:
    mean = clustered_score(METRICS["miou"], [HAND])
    overall = clustered_score(METRICS["oiou"], [HAND])
    assert mean.by_image.ratio == pytest.approx(0.65)
    assert overall.by_image.ratio == pytest.approx(44 / 68)
    errors = (mean.by_image.error, mean.by_object.error, overall.by_image.error, overall.by_object.error)
    assert errors == pytest.approx((0.157143, 0.130345, 0.166090, 0.136963), abs=5e-7)
    assert mean.design_effect == pytest.approx((0.157143 / 0.130345) ** 2, rel=1e-4)
    assert (mean.by_image.clusters, mean.by_object.clusters) == (2, 3)
    # Two images, one degree of freedom: t is 12.706.
    assert mean.by_image.interval.margin == pytest.approx(12.706 * 0.157143, rel=1e-3)


@pytest.mark.parametrize("name", ["miou", "oiou", "all70", "worst", "p50_weak"])
def test_the_formula_agrees_with_10_000_resamples_of_images(name: str) -> None:
    rng = np.random.default_rng(7)
    image = np.repeat(np.arange(300), rng.integers(1, 9, 300))
    ann = image * 10 + rng.integers(0, 3, len(image))
    union = rng.integers(200, 900, len(image))
    ease = rng.beta(3, 2, 300)[image]
    columns = {"image_id": image, "ann_id": ann, "union": union}
    columns["intersection"] = rng.binomial(union, np.clip(ease + rng.normal(0, 0.1, len(image)), 0, 1))
    metric = METRICS[name]
    sums = image_sums(columns, [metric])[1][:, 0]
    drawn = scores_of_sums(resample(sums, 10_000)[:, None, :])
    found = clustered_score(metric, [columns])
    assert found.by_image.error == pytest.approx(float(drawn.std()), rel=0.05)
    assert found.by_image.ratio == pytest.approx(metric.function(columns))
    assert found.design_effect is not None
    assert found.design_effect > 1


def test_several_runs_are_averaged_over_the_same_images() -> None:
    other = HAND | {"intersection": np.array([7, 5, 7, 9, 8, 1, 6])}
    mean = clustered_score(METRICS["miou"], [HAND, other])
    single = [float(METRICS["miou"].function(columns) or 0) for columns in (HAND, other)]
    assert mean.by_image.ratio == pytest.approx(np.mean(single))
    assert clustered_score(METRICS["miou"], [HAND, HAND]).by_image.error == pytest.approx(0.157143, abs=5e-7)


def test_one_image_has_no_interval() -> None:
    one = {name: column[:5] for name, column in HAND.items()}
    found = clustered_score(METRICS["miou"], [one])
    assert math.isnan(found.by_image.error)
    assert not found.by_image.interval.known


def test_an_error_of_zero_is_no_certainty() -> None:
    never = clustered_score(METRICS["all90"], [HAND | {"intersection": np.zeros(7, np.int64)}])
    assert never.by_image.ratio == 0
    assert not never.by_image.interval.known


def test_only_images_that_are_counted_are_a_sample() -> None:
    sized = HAND | {"area": np.array([1, 1, 1, 100, 100, 100, 100])}
    small = clustered_score(METRICS["miou_share_small"], [sized])
    assert small.by_image.clusters == 1
    assert not small.by_image.interval.known
    assert clustered_score(METRICS["miou_share_large"], [sized]).by_image.clusters == 2
