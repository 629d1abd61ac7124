"""Summaries against the statistics module and hand-computed values."""

import random
import statistics

import pytest

from barbench.results.statistics import mean, mean_of_means, summarize


def test_summary() -> None:
    values = [0.3, 0.1, 0.25]
    summary = summarize(values)
    assert (summary.mean, summary.n) == (statistics.fmean(values), 3)
    assert summary.margin == pytest.approx(4.302653 * statistics.stdev(values) / 3**0.5)
    assert summarize([0.5]) == (0.5, None, 1)


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
