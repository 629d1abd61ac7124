"""Summaries against the statistics module and hand-computed values."""

import math
import random
import statistics

import pytest

from barbench.results.statistics import mean, mean_of_means, summarize, t_quantile


def test_summary() -> None:
    values = [0.3, 0.1, 0.25]
    summary = summarize(values)
    assert (summary.mean, summary.n) == (statistics.fmean(values), 3)
    assert summary.margin == pytest.approx(4.302653 * statistics.stdev(values) / 3**0.5)
    assert summarize([0.5]) == (0.5, None, 1)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (30, 2.0423)]
)
def test_quantiles_are_those_of_the_printed_tables(freedom: int, quantile: float) -> None:
    assert t_quantile(freedom) == pytest.approx(quantile, abs=5e-5)


def test_quantiles_approach_the_normal() -> None:
    assert t_quantile(1) == pytest.approx(1 / math.tan(math.pi * 0.025))  # Cauchy
    assert t_quantile(100_000) == pytest.approx(statistics.NormalDist().inv_cdf(0.975), rel=1e-4)
    assert t_quantile(5, 0.5) < t_quantile(5, 0.9) < t_quantile(5, 0.99)


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = random.Random(3)
    trials = [summarize([rng.gauss(40, 2) for _ in range(3)]) for _ in range(4000)]
    assert 0.94 < sum(abs(trial.mean - 40) <= trial.margin for trial in trials) / len(trials) < 0.96


def test_mean_does_not_depend_on_order() -> None:
    values = [0.1, 0.7, 1e-17, 0.2, 0.3]
    assert mean(values) == mean(values[::-1]) == mean(sorted(values))


def test_mean_of_means_weighs_datasets_alike_and_skips_empty_ones() -> None:
    assert mean_of_means([[1.0, 2.0, 3.0], [10.0], []]) == (2.0 + 10.0) / 2


def test_no_values() -> None:
    with pytest.raises(ValueError, match="no values"):
        summarize([])
    with pytest.raises(ValueError, match="no values"):
        mean_of_means([[]])
