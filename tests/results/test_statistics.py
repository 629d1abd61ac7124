"""Summaries against the statistics module and hand-computed values."""

import statistics

import pytest

from barbench.results.statistics import mean, mean_of_means, summarize


def test_summary() -> None:
    values = [0.3, 0.1, 0.25]
    summary = summarize(values)
    assert summary == (statistics.fmean(values), 0.1, 0.3, 3)
    assert summary.half_range == pytest.approx(0.1)
    assert summarize([0.5]).half_range == 0


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
