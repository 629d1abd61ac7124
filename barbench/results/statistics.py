"""Summaries of scores: over seeds, and over the columns of a table as the paper averages them."""

from collections.abc import Iterable, Sequence
from math import fsum
from typing import NamedTuple


class Summary(NamedTuple):
    """Mean, smallest and largest of `n` values, one a seed."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half_range(self) -> float:
        return (self.high - self.low) / 2


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean, exact up to one rounding so that the order of the values does not matter."""
    if not values:
        raise ValueError("the mean of no values is undefined")
    return fsum(values) / len(values)


def summarize(values: Sequence[float]) -> Summary:
    """Summary of one value a seed; raises ValueError on an empty sequence."""
    return Summary(mean(values), min(values), max(values), len(values))


def mean_of_means(datasets: Iterable[Sequence[float]]) -> float:
    """Average of Tables 1, 4 and 5: mean over datasets of the mean over each one's columns; empty ones are skipped."""
    return mean([mean(columns) for columns in datasets if columns])
