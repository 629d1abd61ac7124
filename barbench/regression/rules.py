"""How values are judged: one rule per section decides what moved."""

import math
from collections.abc import Callable, Mapping
from statistics import mean, variance
from typing import NamedTuple

from barbench.results.interval import student

Value = int | float | list[float]
Values = Mapping[str, Value]


class Verdict(NamedTuple):
    """Whether one value is within what the baseline allows, both values, and how much they differ and may differ."""

    ok: bool
    baseline: str
    measured: str
    difference: str


Rule = Callable[[Values, Values], dict[str, Verdict]]
"""From the baseline's and the measured values, which have the same names, to a verdict on each."""

ERROR = 0.01
"""Of a comparison of seeds: one in a hundred leaves the interval where nothing changed."""


class Spread(NamedTuple):
    """The standard deviation of one run, pooled over entries, and its degrees of freedom."""

    deviation: float
    freedom: int

    def allowed(self, stored: int, new: int, error: float = ERROR) -> float:
        """How far the mean of `new` runs may be from that of `stored` ones: t s sqrt(1/stored + 1/new)."""
        return student(self.freedom, 1 - error) * self.deviation * math.sqrt(1 / stored + 1 / new)


def spread(baseline: Values) -> Spread:
    """Of the runs of each entry around their mean: a few runs of one entry say little about its spread."""
    # Squares around the mean of each entry, over their degrees of freedom.
    squares = 0.0
    freedom = 0
    for value in baseline.values():
        runs = _vector(value)
        if len(runs) > 1:
            squares += (len(runs) - 1) * variance(runs)
            freedom += len(runs) - 1
    return Spread(math.sqrt(squares / max(freedom, 1)), freedom)


def close(tolerance: float) -> Rule:
    """A rule for numbers or vectors, each element of which may differ by `tolerance` of the baseline's first number."""

    def judge(baseline: Values, measured: Values) -> dict[str, Verdict]:
        found = {}
        for name, value in measured.items():
            # Relative to the first number, which is the score; a score of 0 has no size.
            old = _vector(baseline[name])
            new = _vector(value)
            size = abs(old[0]) or 1.0
            worst = _largest_gap(old, new) / size
            difference = f"off by {worst:.2g} of its size, allowed {tolerance:g}"
            found[name] = Verdict(worst <= tolerance, f"{old[0]:.6g}", f"{new[0]:.6g}", difference)
        return found

    return judge


def within_seeds(baseline: Values, measured: Values) -> dict[str, Verdict]:
    """The runs of each entry, one per seed, against the baseline's: the prediction interval of `Spread.allowed`, with
    the spread pooled over all entries."""
    # A check measures fewer seeds than the baseline has.
    every = spread(baseline)
    found = {}
    for name, value in measured.items():
        runs = _vector(value)
        stored = _vector(baseline[name])
        new = mean(runs)
        old = mean(stored)
        allowed = every.allowed(len(stored), len(runs))
        difference = f"{100 * (new - old):+.2f}, allowed ±{100 * allowed:.2f}"
        found[name] = Verdict(abs(new - old) <= allowed, f"{100 * old:.2f}", f"{100 * new:.2f}", difference)
    return found


def _largest_gap(old: list[float], new: list[float]) -> float:
    """Infinite if the lengths differ or a new number is not finite."""
    if len(old) != len(new) or not all(map(math.isfinite, new)):
        return math.inf
    gaps = [abs(a - b) for a, b in zip(old, new, strict=True)]
    return max(gaps)


def number(value: Value) -> float:
    """A value that is not a list."""
    assert not isinstance(value, list)
    return value


def _vector(value: Value) -> list[float]:
    return value if isinstance(value, list) else [float(value)]
