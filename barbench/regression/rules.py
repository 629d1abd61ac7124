"""How values are judged: one rule per section decides what moved."""

import math
from collections.abc import Callable, Mapping
from statistics import mean, variance
from typing import NamedTuple

from barbench.results.interval import student

Value = int | float | list[float]
Values = Mapping[str, Value]


class Verdict(NamedTuple):
    """How one value compares with the baseline.

    Attributes:
        ok: whether it is within what is allowed.
        baseline: the old value as text.
        measured: the new value as text.
        difference: how much they differ and may differ, as a text.
    """

    ok: bool
    baseline: str
    measured: str
    difference: str


Rule = Callable[[Values, Values], dict[str, Verdict]]
"""From the baseline's and the measured values, which have the same names, to a verdict on each."""

SIGNIFICANCE = student(10, 0.99)
"""Student's t at 99.5 % with 10 degrees of freedom: one new seed in a hundred leaves the interval."""


def close(tolerance: float) -> Rule:
    """A rule for numbers or vectors, each element of which may differ by `tolerance` of the baseline's first number."""

    def judge(baseline: Values, measured: Values) -> dict[str, Verdict]:
        found = {}
        for name, value in measured.items():
            old = _vector(baseline[name])
            new = _vector(value)
            size = abs(old[0]) or 1.0
            worst = _largest_gap(old, new) / size
            difference = f"off by {worst:.2g} of its size, allowed {tolerance:g}"
            found[name] = Verdict(worst <= tolerance, f"{old[0]:.6g}", f"{new[0]:.6g}", difference)
        return found

    return judge


def within_seeds(baseline: Values, measured: Values) -> dict[str, Verdict]:
    """One run of each entry against the baseline's runs, one per seed: the prediction interval for one more run, mean
    +- t s sqrt(1 + 1/n).

    s is pooled over all entries, since a few runs of one entry say little about its spread; five entries of three seeds
    give the 10 degrees of freedom of SIGNIFICANCE. Of the measured lists the first run counts.
    """
    runs = {name: _vector(value) for name, value in baseline.items()}

    # The standard deviation of one run, pooled.
    squares = 0.0
    free = 0
    for each in runs.values():
        squares += (len(each) - 1) * variance(each)
        free += len(each) - 1
    deviation = math.sqrt(squares / free)

    found = {}
    for name, value in measured.items():
        new = _vector(value)[0]
        middle = mean(runs[name])
        allowed = SIGNIFICANCE * deviation * math.sqrt(1 + 1 / len(runs[name]))
        difference = f"{100 * (new - middle):+.2f}, allowed ±{100 * allowed:.2f}"
        found[name] = Verdict(abs(new - middle) <= allowed, f"{100 * middle:.2f}", f"{100 * new:.2f}", difference)
    return found


def _largest_gap(old: list[float], new: list[float]) -> float:
    """Infinite if the lengths differ or a new number is not finite."""
    if len(old) != len(new) or not all(map(math.isfinite, new)):
        return math.inf
    return max(abs(a - b) for a, b in zip(old, new, strict=True))


def number(value: Value) -> float:
    """A value that is not a list."""
    assert not isinstance(value, list)
    return value


def _vector(value: Value) -> list[float]:
    return value if isinstance(value, list) else [float(value)]
