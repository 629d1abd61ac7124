"""The paper's two averages, by the names that the tables print: `datasets` (Tables 1, 4, 5), `columns` (2, 3)."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from barbench.results.statistics import mean, mean_of_means

Rule = Literal["datasets", "columns"]


def average(rule: Rule, scores: Iterable[tuple[str, float]]) -> float:
    """Average of (dataset, score of one of its columns): over each dataset, then over datasets; or over all alike.

    Raises ValueError where there is no score.
    """
    datasets: dict[str, list[float]] = defaultdict(list)
    for dataset, score in scores:
        datasets[dataset].append(score)
    if rule == "columns":
        return mean([score for columns in datasets.values() for score in columns])
    return mean_of_means(datasets.values())


def printed(value: float, digits: int = 1) -> str:
    """`value` as a paper prints it: ties go up, also where the binary number lies a hair below."""
    exact = Decimal(repr(round(value, 9)))
    return str(exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))
