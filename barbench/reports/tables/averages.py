"""The paper's two averages, by the names that the tables print: `datasets` (Tables 1, 4, 5), `columns` (2, 3)."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

from barbench.paper.tables import Column, Rule
from barbench.reports.tables.grouping import SeedScores
from barbench.results.interval import Interval, interval_of_mean, mean


def average(rule: Rule, scores: Iterable[tuple[str, float]]) -> float:
    """Average scores as a table does.

    Args:
        rule: over each dataset, then over datasets; or over all columns alike.
        scores: (dataset, score of one of its columns).

    Returns:
        The average.

    Raises:
        ValueError: if there is no score.
    """
    datasets: dict[str, list[float]] = defaultdict(list)
    for dataset, score in scores:
        datasets[dataset].append(score)
    if rule == "columns":
        return mean([score for columns in datasets.values() for score in columns])
    return mean([mean(columns) for columns in datasets.values()])


def per_seed(rule: Rule, values: SeedScores, columns: Iterable[Column]) -> list[float]:
    """The average over columns, for each seed.

    Args:
        rule: how columns are averaged; a single column is its own average.
        values: scores by column and seed; all of `columns` are in it.
        columns: at least one.

    Returns:
        One number per seed, in the order of the seeds; if the columns have different seeds, a single number, the
            average of the columns' means.
    """
    have = list(columns)
    seeds = {frozenset(values[column]) for column in have}
    if len(seeds) > 1:
        return [average(rule, [(c.title, mean(list(values[c].values()))) for c in have])]
    return [average(rule, [(c.title, values[c][seed]) for c in have]) for seed in sorted(seeds.pop())]


def over_seeds(rule: Rule, values: SeedScores, columns: Iterable[Column]) -> Interval | None:
    """The average over columns, with its interval over seeds.

    Args:
        rule: how columns are averaged.
        values: scores by column and seed.
        columns: those without values are left out.

    Returns:
        None if no column has values. If the columns have different seeds, there is no interval (see `per_seed`).
    """
    have = [column for column in columns if column in values]
    return interval_of_mean(per_seed(rule, values, have)) if have else None


def printed(value: float, digits: int = 1) -> str:
    """Round as a paper prints: ties go up, also if the binary number is slightly below.

    Args:
        value: any number.
        digits: after the point.

    Returns:
        The text.
    """
    exact = Decimal(repr(round(value, 9)))
    return str(exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP) + 0)  # + 0: no negative zero


def millions(count: int) -> str:
    """Parameters in millions: two digits as the paper prints, three below a tenth: no small method shows as 0.00.

    Args:
        count: of parameters.

    Returns:
        The text, without unit.
    """
    return f"{count / 1e6:.{3 if 0 < count < 1e5 else 2}f}"
