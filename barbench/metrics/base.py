"""What a metric is: a function of the counts that are stored for each expression."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]
"""Arrays of equal length by name, one element per expression, as `engine.evaluate` makes and `results.store` keeps
them: `intersection`, `union`, `area` in pixels; `image_id`, `ann_id`, `sent_id`; `words`; and `targets`, the number of
objects that are meant, only for data sets where it can differ from one; and, where it is known what else the images
hold, the columns of `identity.identity_columns`."""

Terms = Callable[[Columns], tuple[Floats, Floats]]
"""From the columns (n,) to a numerator and a denominator for each expression, (n,) both."""

End = Literal["high", "low"]
"""An end of a metric's range."""

DatasetKind = Literal["all", "one target", "any targets"]
"""What an expression can mean: `one target` is one object each, `any targets` also several or none, as in gRefCOCO."""


@dataclass(frozen=True)
class Metric:
    """A metric of an evaluation split, as `METRICS` lists it.

    Attributes:
        label: its name in print.
        function: from the columns of a split to the score; None where it is not defined.
        unit: of the printed score: "%" for a fraction that is printed in percent, "" for a plain number.
        better: which end is good; `barbench compare` names the better side by it.
        needs: the columns that it reads; it is left out where one is missing.
        datasets: the kind of data set that it is for.
        role: `mean` for the metric that ranks methods, `overall` for the one beside it; each data set has one of both.
        terms: numerator and denominator of each expression, where the score is the ratio of their sums; None for other
            metrics, which have no bootstrap interval.
        compared: the data sets, as in `datasets`, for which `barbench compare` prints it; it then needs `terms`.
        heading: over a section of its own in the tables; "" for none.
        note: what the tables say about it if it ranks.
        detail: whether it is left out of one-line summaries, and shown under "Objects and sentences" instead.
    """

    label: str
    function: Callable[[Columns], float | None]
    unit: Literal["%", ""] = "%"
    better: End = "high"
    needs: tuple[str, ...] = ("intersection", "union")
    datasets: DatasetKind = "all"
    role: Literal["mean", "overall", "other"] = "other"
    terms: Terms | None = None
    compared: DatasetKind | None = None
    heading: str = ""
    note: str = ""
    detail: bool = False

    @property
    def factor(self) -> int:
        """What the score is multiplied by for print."""
        return 100 if self.unit == "%" else 1

    def printed(self, score: float) -> str:
        """The label and the score with one decimal, for example `mIoU 43.1`."""
        return f"{self.label} {self.factor * score:.1f}"

    def applies(self, columns: Columns) -> bool:
        """Whether it is defined for these columns."""
        return set(self.needs) <= columns.keys() and _fits(self.datasets, columns)

    def compares(self, columns: Columns) -> bool:
        """Whether `barbench compare` prints it for these columns."""
        return self.compared is not None and self.applies(columns) and _fits(self.compared, columns)


def _fits(datasets: DatasetKind, columns: Columns) -> bool:
    """Whether the columns are of such a data set: only those where an expression can mean none have `targets`."""
    if datasets == "all":
        return True
    return ("targets" in columns) == (datasets == "any targets")


def ratio_of_sums(terms: Terms, empty: float | None = None) -> Callable[[Columns], float | None]:
    """The metric that divides the sum of numerators by the sum of denominators.

    Args:
        terms: numerator and denominator of each expression.
        empty: the score where the denominators sum to 0.

    Returns:
        The function of a `Metric`.
    """

    def score(columns: Columns) -> float | None:
        numerators, denominators = terms(columns)
        total = denominators.sum()
        if total == 0:
            return empty
        return float(numerators.sum() / total)

    return score


def detail_share(
    label: str, terms: Terms, needs: tuple[str, ...], compared: bool = False, better: End = "high"
) -> Metric:
    """A metric of the detail, which has an interval because it is a ratio of sums.

    Args:
        label: what tables call it.
        terms: its numerators and denominators.
        needs: the columns that it reads.
        compared: whether `compare` shows it.
        better: which end is good.

    Returns:
        The metric, a ratio in [0, 1].
    """
    return Metric(
        label,
        ratio_of_sums(terms),
        better=better,
        needs=needs,
        datasets="one target",
        terms=terms,
        compared="one target" if compared else None,
        detail=True,
    )
