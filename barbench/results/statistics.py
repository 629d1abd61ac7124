"""Summaries of scores: over seeds, and over the columns of a table in the paper's two ways."""

from collections.abc import Iterable, Sequence
from math import fsum, sqrt
from typing import NamedTuple

from barbench.student import student


class Summary(NamedTuple):
    """Mean of `n` values, one per seed, and half the width of its 95 % interval; no margin (None) for one value."""

    mean: float
    margin: float | None
    n: int


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean, exact up to one rounding, so that the order of the values does not matter.

    Args:
        values: at least one.

    Returns:
        Their mean.

    Raises:
        ValueError: for no value.
    """
    if not values:
        raise ValueError("the mean of no values is undefined")
    return fsum(values) / len(values)


def summarize(values: Sequence[float]) -> Summary:
    """Summarise one value per seed.

    The margin is Student's: `t * s / sqrt(n)`, with the quantile of n - 1 degrees of freedom, and s the sample's
    standard deviation. It is valid if the scores of seeds are about normal; with two seeds, t is 12.7.

    Args:
        values: at least one.

    Returns:
        Mean and margin.

    Raises:
        ValueError: for no value.
    """
    centre, n = mean(values), len(values)
    if n < 2:
        return Summary(centre, None, n)
    deviation = sqrt(fsum((value - centre) ** 2 for value in values) / (n - 1))
    return Summary(centre, student(n - 1) * deviation / sqrt(n), n)


def mean_of_means(datasets: Iterable[Sequence[float]]) -> float:
    """Average of Tables 1, 4 and 5: the mean over datasets of the mean over each one's columns.

    Args:
        datasets: the scores of each; empty ones are skipped.

    Returns:
        The average.

    Raises:
        ValueError: if there is no score.
    """
    return mean([mean(columns) for columns in datasets if columns])
