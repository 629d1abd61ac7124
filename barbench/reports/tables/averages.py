"""The paper's two averages, by the names that the tables print: `datasets` (Tables 1, 4, 5), `columns` (2, 3)."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

from barbench.paper.tables import Column, Rule
from barbench.reports.tables.grouping import SeedScores
from barbench.results.interval import Interval, interval_of_mean, mean


def average(rule: Rule, scores: Iterable[tuple[str, float]]) -> float:
    """Average (dataset, score) pairs, at least one: over each dataset and then over datasets, or over all alike."""
    datasets: dict[str, list[float]] = defaultdict(list)
    for dataset, score in scores:
        datasets[dataset].append(score)
    if rule == "datasets":
        return mean([mean(columns) for columns in datasets.values()])
    return mean([score for columns in datasets.values() for score in columns])


def per_seed(rule: Rule, values: SeedScores, columns: Iterable[Column]) -> list[float]:
    """The average over columns, at least one, for each seed in order; a single column is its own average. A single
    number, the average of the columns' means, if the columns have different seeds."""
    # Averages of one seed are possible only where every column has the same seeds.
    columns = list(columns)
    seeds = {frozenset(values[column]) for column in columns}
    if len(seeds) > 1:
        means = [(column.title, mean(list(values[column].values()))) for column in columns]
        return [average(rule, means)]
    averages = []
    for seed in sorted(seeds.pop()):
        scores = [(column.title, values[column][seed]) for column in columns]
        averages.append(average(rule, scores))
    return averages


def over_seeds(rule: Rule, values: SeedScores, columns: Iterable[Column]) -> Interval | None:
    """The average over the columns that have values, with its interval over seeds; None if no column has.

    If the columns have different seeds, there is no interval (see `per_seed`).
    """
    measured = [column for column in columns if column in values]
    if not measured:
        return None
    return interval_of_mean(per_seed(rule, values, measured))


def printed(value: float, digits: int = 1) -> str:
    """Round as a paper prints: ties go up, also if the binary number is slightly below."""
    exact = Decimal(repr(round(value, 9)))
    rounded = exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return str(rounded + 0)  # + 0: no negative zero


def millions(count: int) -> str:
    """Parameters in millions: two digits as the paper prints, three below a tenth: no small method shows as 0.00."""
    digits = 3 if 0 < count < 1e5 else 2
    return f"{count / 1e6:.{digits}f}"
