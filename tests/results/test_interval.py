"""Student's t against printed tables and closed forms; intervals, resampling and Holm's rule against the statistics
module and hand-computed values."""

import math
import random
import statistics
from statistics import NormalDist

import numpy as np
import pytest
import torch

from barbench.results.interval import (
    holm,
    interval_around,
    interval_of_mean,
    mean,
    mean_error,
    resample,
    shared_run_variance,
    student,
    tail_probability,
)


@pytest.mark.parametrize(
    ("freedom", "t"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (10, 2.22814), (30, 2.04227), (59, 2.00100)],
)
def test_the_values_are_those_of_the_printed_tables(freedom: int, t: float) -> None:
    assert student(freedom) == pytest.approx(t, rel=1e-5)


def test_many_degrees_of_freedom_give_the_normal_distribution() -> None:
    assert student(1499) == pytest.approx(1.96155, abs=1e-4)
    for many in (100_000, 1e9):
        assert student(many) == pytest.approx(NormalDist().inv_cdf(0.975), rel=1e-4)


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99])
def test_one_and_two_degrees_of_freedom_have_a_formula(confidence: float) -> None:
    """Cauchy's distribution; for two, P(|T| < t) = t / sqrt(2 + t^2)."""
    assert student(1, confidence) == pytest.approx(math.tan(math.pi / 2 * confidence), rel=1e-5)
    assert student(2, confidence) == pytest.approx(math.sqrt(2 / (confidence**-2 - 1)), rel=1e-5)


def test_it_falls_with_freedom_and_grows_with_confidence() -> None:
    assert student(1) > student(1.5) > student(2)
    assert student(5, 0.5) < student(5, 0.9) < student(5, 0.99)


@pytest.mark.parametrize(
    ("t", "freedom", "tail"), [(2.776445, 4, 0.05), (12.7062, 1, 0.05), (1.959964, 1e9, 0.05), (0, 3, 1)]
)
def test_tails_have_the_values_of_the_tables(t: float, freedom: float, tail: float) -> None:
    assert tail_probability(t, freedom) == pytest.approx(tail, abs=2e-4)
    assert tail_probability(-t, freedom) == tail_probability(t, freedom)


def test_the_interval_of_a_mean() -> None:
    values = [0.3, 0.1, 0.25]
    found = interval_of_mean(values)
    assert found.mean == statistics.fmean(values)
    assert found.margin == pytest.approx(4.302653 * statistics.stdev(values) / 3**0.5)
    assert (found.known, found.mean - found.low) == (True, pytest.approx(found.high - found.mean))


def test_one_value_has_no_interval() -> None:
    one = interval_of_mean([0.5])
    assert (one.mean, one.known, one.excludes_zero) == (0.5, False, False)
    assert math.isnan(one.margin)
    assert one.times(100).mean == 50


def test_an_interval_in_percent_excludes_zero_as_before() -> None:
    above, around, below = interval_around(0.3, 0.2), interval_around(0.1, 0.2), interval_around(-0.3, 0.2)
    assert [each.times(100).excludes_zero for each in (above, around, below)] == [True, False, True]
    assert above.times(100) == pytest.approx((30, 10, 50))


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = random.Random(3)
    trials = [interval_of_mean([rng.gauss(40, 2) for _ in range(3)]) for _ in range(4000)]
    assert 0.94 < sum(abs(trial.mean - 40) <= trial.margin for trial in trials) / len(trials) < 0.96


def test_mean_does_not_depend_on_order() -> None:
    values = [0.1, 0.7, 1e-17, 0.2, 0.3]
    assert mean(values) == mean(values[::-1]) == mean(sorted(values))


def test_no_values() -> None:
    with pytest.raises(ValueError, match="no values"):
        interval_of_mean([])


def test_resampled_sums_are_those_of_drawn_images() -> None:
    """Written out with one draw after another."""
    sums = np.random.default_rng(1).random((7, 3))
    found = resample(sums, 1100, seed=4)
    rng = np.random.default_rng(4)
    drawn = [sums[rng.integers(7, size=7)].sum(axis=0) for _ in range(1100)]
    assert found == pytest.approx(np.array(drawn))
    assert (resample(sums, 1100, seed=4) == found).all()


def test_both_ways_of_drawing_have_the_same_distribution() -> None:
    sums = np.random.default_rng(1).random((20, 1))
    one, other = (resample(sums, 20_000, multinomial=multinomial)[:, 0] for multinomial in (False, True))
    assert one.mean() == pytest.approx(other.mean(), rel=0.005)
    assert one.std() == pytest.approx(other.std(), rel=0.03)
    assert one.std() == pytest.approx(np.sqrt(20) * sums.std(), rel=0.03)


def test_holm_on_an_example_by_hand() -> None:
    """0.01 < 0.05 / 4 and 0.015 < 0.05 / 3, but 0.03 > 0.05 / 2; what follows is kept, too."""
    assert holm({"a": 0.03, "b": 0.01, "c": 0.04, "d": 0.015}) == {"b", "d"}
    assert holm({}) == set()


@pytest.mark.parametrize("freedom", [1, 2, 5])
def test_the_shared_variance_solves_its_two_equations(freedom: int) -> None:
    """Mean and variance of the logarithms of s^2, which has s0^2 F(d, d0), written with torch's polygamma."""
    rng = np.random.default_rng(freedom)
    true = 4.0 * 6 / rng.chisquare(6, size=100_000)
    values = rng.normal(size=(100_000, freedom + 1)) * np.sqrt(true)[:, None]
    found = shared_run_variance(values, rows=100_000)
    own, prior = (torch.tensor(count / 2, dtype=torch.float64) for count in (freedom, found.freedom))
    logs = np.log(values.var(axis=1, ddof=1))
    expected = math.log(found.value) + own.digamma() - own.log() - prior.digamma() + prior.log()
    assert logs.mean() == pytest.approx(float(expected), abs=1e-7)
    assert logs.var(ddof=1) == pytest.approx(float(torch.polygamma(1, own) + torch.polygamma(1, prior)), rel=1e-6)
    assert found.value == pytest.approx(4.0, rel=0.15)
    assert found.freedom == pytest.approx(6, rel=0.3)


def test_two_rows_or_one_run_share_nothing() -> None:
    values = np.random.default_rng(0).normal(size=(3, 3))
    assert shared_run_variance(values[:1], rows=2).freedom == 0
    assert shared_run_variance(values[:, :1], rows=3).freedom == 0
    assert shared_run_variance(np.zeros((3, 3)), rows=3).freedom == 0
    assert shared_run_variance(values, rows=3).freedom <= 2


@pytest.mark.parametrize("scatter", [0.0, 0.6])
@pytest.mark.parametrize("rows", [3, 7, 20])
def test_intervals_of_three_runs_cover_as_they_say_and_are_narrower(rows: int, scatter: float) -> None:
    """Over tables of rows whose deviations between runs are alike, or differ by a factor of 1.8."""
    rng = np.random.default_rng(rows)
    first, second = np.triu_indices(rows, 1)
    none = np.zeros((2, 3))
    hits, margins, alone = [], [], []
    for _ in range(1_500 // min(len(first), 30)):
        scores = rng.normal(size=(rows, 3)) * np.exp(rng.normal(0, scatter, rows))[:, None]
        pairs = scores[first] - scores[second]
        shared = shared_run_variance(pairs, rows)
        for pair in pairs[:30]:
            moderated = mean_error(pair, none, 1_000, 1_000, shared).interval
            hits.append(not moderated.excludes_zero)
            margins.append(moderated.margin)
            alone.append(mean_error(pair, none, 1_000, 1_000).interval.margin)
    assert 0.91 < np.mean(hits) < 0.985
    assert np.mean(margins) < (0.85 if rows == 3 else 0.65) * np.mean(alone)
