"""The paper's two averages, by the names that the tables print: `datasets` (Tables 1, 4, 5), `columns` (2, 3)."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

from barbench.paper.tables import Column, Rule
from barbench.reports.tables.grouping import SeedScores
from barbench.results.statistics import Summary, mean, mean_of_means, summarize


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


def per_seed(rule: Rule, values: SeedScores, columns: Iterable[Column]) -> list[float]:
    """The average over `columns` of each seed, in the order of the seeds.

    Args:
        rule: how columns are averaged; a single column is its own average.
        values: scores by column and seed; all of `columns` are in it.
        columns: at least one.

    Returns:
        One number per seed; where the columns have different seeds a single one, the average of the columns' means.
    """
    have = list(columns)
    seeds = {frozenset(values[column]) for column in have}
    if len(seeds) > 1:
        return [average(rule, [(c.dataset, mean(list(values[c].values()))) for c in have])]
    return [average(rule, [(c.dataset, values[c][seed]) for c in have]) for seed in sorted(seeds.pop())]


def over_seeds(rule: Rule, values: SeedScores, columns: Iterable[Column]) -> Summary | None:
    """The average over those of `columns` that have values, summarised over seeds; None without any.

    Where the columns have different seeds, there is no interval (see `per_seed`).
    """
    have = [column for column in columns if column in values]
    return summarize(per_seed(rule, values, have)) if have else None


def printed(value: float, digits: int = 1) -> str:
    """`value` as a paper prints it: ties go up, also where the binary number lies a hair below."""
    exact = Decimal(repr(round(value, 9)))
    return str(exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP) + 0)  # + 0: no negative zero
