"""The rules: what counts as close, and as one more seed."""

import math
from statistics import stdev

import numpy as np
import pytest

from barbench.regression.rules import Spread, close, spread, within_seeds
from barbench.regression.scores import SEEDS


def test_close_measures_every_element_by_the_first_number() -> None:
    rule, old = close(0.01), [2.0, 0.001, -1.0]
    assert rule({"x": old}, {"x": [2.0, 0.02, -1.0]})["x"].ok  # 0.019 of 2
    assert not rule({"x": old}, {"x": [2.0, 0.022, -1.0]})["x"].ok
    assert not rule({"x": old}, {"x": [2.0, 0.001, 1.0]})["x"].ok
    assert rule({"x": 5.0}, {"x": 5.04})["x"].ok
    assert not rule({"x": 5.0}, {"x": 5.06})["x"].ok


@pytest.mark.parametrize("broken", [[math.nan, 0.0], [1.0, math.inf], [1.0], [1.0, 0.0, 0.0]])
def test_what_is_not_finite_or_of_another_length_is_never_close(broken: list[float]) -> None:
    assert not close(10.0)({"x": [1.0, 0.0]}, {"x": broken})["x"].ok


def test_the_interval_over_seeds_is_that_of_one_more_run() -> None:
    runs = {"a": [0.30, 0.32, 0.31, 0.33, 0.29], "b": [0.5, 0.5, 0.52, 0.48, 0.5]}
    pooled = math.sqrt((stdev(runs["a"]) ** 2 + stdev(runs["b"]) ** 2) / 2)
    half = 3.3554 * pooled * math.sqrt(1 + 1 / 5)  # t at 99.5 % with 8 degrees of freedom, of a printed table
    inside, outside = 0.31 + 0.99 * half, 0.31 - 1.01 * half
    assert within_seeds(runs, {"a": [inside], "b": [0.5]})["a"].ok
    found = within_seeds(runs, {"a": [outside], "b": [0.5]})
    assert not found["a"].ok
    assert found["b"].ok


def test_one_run_in_a_hundred_leaves_the_interval() -> None:
    """By simulation of normal scores, for as many methods as the gate trains."""
    make, misses, trials, methods = np.random.default_rng(0), 0, 2000, 5
    for _ in range(trials):
        draws = make.normal(0.4, 0.03, (methods, len(SEEDS) + 1))
        runs = {str(i): row[:-1].tolist() for i, row in enumerate(draws)}
        news = {str(i): [float(row[-1])] for i, row in enumerate(draws)}
        misses += sum(not judged.ok for judged in within_seeds(runs, news).values())
    assert 0.007 < misses / (trials * methods) < 0.013


def test_the_tolerance_is_that_of_the_tables() -> None:
    """One new seed, three stored: 3.66 s with 10 degrees of freedom, 5.32 s with 4, 11.5 s with 2 (EVALUATION.md)."""
    for freedom, factor in ((10, 3.66), (4, 5.32), (2, 11.46)):
        assert Spread(1.0, freedom).allowed(3, 1) == pytest.approx(factor, abs=0.005)
    # Three comparisons: t at 1 - 0.01 / 6 with 12 degrees of freedom, of a table of Bonferroni's t.
    assert Spread(2.0, 12).allowed(3, 3, error=0.01 / 3) == pytest.approx(3.65 * 2 * math.sqrt(2 / 3), abs=0.01)


def test_the_spread_is_pooled_over_entries_of_any_number_of_runs() -> None:
    runs = {"a": [0.1, 0.3], "b": [0.5, 0.5, 0.8], "c": [0.9]}
    squares = 2 * 0.1**2 + 2 * 0.1**2 + 0.2**2
    found = spread(runs)
    assert found.freedom == 3
    assert found.deviation == pytest.approx(math.sqrt(squares / 3))
