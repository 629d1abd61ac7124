"""All metrics by name, and the scores of one evaluation split.

A new metric is one entry in a mapping that METRICS joins: records, data frames, tables and messages read METRICS.
"""

from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from barbench.metrics.base import Columns, Counts, Metric
from barbench.metrics.generalized import ACCURACY_METRICS, GENERALIZED_METRICS, GROUP_METRICS, PRESENT_METRICS
from barbench.metrics.identity import IDENTITY_METRICS, PRESENCE_METRICS
from barbench.metrics.iou import IOU_METRICS, PRECISION_METRICS
from barbench.metrics.objects import OBJECT_METRICS

METRICS: Final[dict[str, Metric]] = {
    **IOU_METRICS,
    **GENERALIZED_METRICS,
    **PRECISION_METRICS,
    **PRESENT_METRICS,
    **ACCURACY_METRICS,
    **GROUP_METRICS,
    **OBJECT_METRICS,
    **IDENTITY_METRICS,
    **PRESENCE_METRICS,
}
"""By their names in records, in the order of print."""


class Scores(BaseModel):
    """The scores over `n` expressions by metric, never rounded: `scores["miou"]`, or `scores.miou`.

    Names are those of METRICS; one that this version does not know, of a later version's record, is kept. A metric that
    is not defined for the expressions is not there.

    >>> print(Scores(n=360, miou=0.431, oiou=0.5, p50=0.4, p60=0.3))
    mIoU 43.1, oIoU 50.0, P@0.5 40.0, P@0.6 30.0 over 360 expressions
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, float] = Field(init=False)

    n: int = Field(gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ranking = [name for name, metric in METRICS.items() if metric.role == "mean"]
        if self.__pydantic_extra__.keys().isdisjoint(ranking):
            raise ValueError(f"scores need one of {', '.join(ranking)}")
        for name, value in self.__pydantic_extra__.items():
            metric = METRICS.get(name)
            if metric is None or metric.unit != "%":
                continue
            if not 0 <= value <= 1:
                raise ValueError(f"expected a fraction, got {value} for {name}")
        return self

    @property
    def values(self) -> dict[str, float]:
        """Metric to score: those of METRICS in its order, then others."""
        known = [name for name in METRICS if name in self.__pydantic_extra__]
        return {name: self.__pydantic_extra__[name] for name in known} | self.__pydantic_extra__

    def __getitem__(self, metric: str) -> float:
        """The score of a metric; KeyError where there is none."""
        return self.__pydantic_extra__[metric]

    @property
    def mean_name(self) -> str:
        """Name of the metric that ranks methods: miou, or giou on gRefCOCO."""
        return self._of_role("mean")

    @property
    def mean(self) -> float:
        """The score that ranks methods."""
        return self[self.mean_name]

    @property
    def overall(self) -> float:
        """The overall IoU: oiou, or ciou on gRefCOCO."""
        return self[self._of_role("overall")]

    def _of_role(self, role: str) -> str:
        return next(name for name in self.values if name in METRICS and METRICS[name].role == role)

    def __str__(self) -> str:
        """The scores in one line, in percent where they are fractions; `values` has the detail."""
        brief = [name for name in self.values if name in METRICS and not METRICS[name].detail]
        parts = [METRICS[name].printed(self[name]) for name in brief]
        return f"{', '.join(parts)} over {self.n:,} expressions"


def ranking_metric(allows_no_target: bool) -> Metric:
    """The metric that ranks methods on a data set: gIoU where its expressions can mean several objects or none, else
    mIoU."""
    datasets = "any targets" if allows_no_target else "one target"
    return next(metric for metric in METRICS.values() if metric.role == "mean" and metric.datasets == datasets)


def defined_scores(columns: Columns) -> dict[str, float]:
    """The scores of all metrics that are defined for the columns of a split.

    Args:
        columns: arrays (n,), see `Columns`; those of gRefCOCO have `targets`.

    Returns:
        Metric to score, in the order of METRICS.
    """
    found = {}
    for name, metric in METRICS.items():
        if not metric.applies(columns):
            continue
        score = metric.function(columns)
        if score is not None:
            found[name] = score
    return found


def summarize_columns(columns: Columns) -> Scores:
    """All metrics that are defined for the columns of a split.

    Args:
        columns: arrays (n,), see `Columns`; those of gRefCOCO have `targets`.

    Returns:
        The scores over all n expressions.

    Raises:
        ValueError: if there is no expression.
    """
    n = len(columns["intersection"])
    if n == 0:
        raise ValueError("no expression to score")
    return Scores(n=n, **defined_scores(columns))


def summarize(intersections: Counts, unions: Counts) -> Scores:
    """Metrics of at least one expression, each of which means one object.

    >>> import numpy as np
    >>> summarize(np.array([1, 3]), np.array([2, 4]))["miou"]
    0.625

    Args:
        intersections: pixels, (n,).
        unions: pixels, (n,).

    Returns:
        The scores over all n expressions.

    Raises:
        ValueError: if there is no expression.
    """
    return summarize_columns({"intersection": intersections, "union": unions})


def summarize_generalized(intersections: Counts, unions: Counts, targets: Counts, areas: Counts) -> Scores:
    """Metrics of at least one expression, where some mean several objects or none.

    >>> import numpy as np
    >>> found = summarize_generalized(*map(np.array, ([6, 0, 0], [8, 0, 5], [2, 0, 0], [7, 0, 0])))
    >>> round(found["giou"], 3), round(found["ciou"], 3), found["n_acc"], found["t_acc"]
    (0.583, 0.462, 0.5, 1.0)

    Args:
        intersections: pixels, (n,).
        unions: pixels, (n,).
        targets: number of objects that are meant, (n,).
        areas: pixels of what is meant, (n,).

    Returns:
        The scores over all n expressions.

    Raises:
        ValueError: if there is no expression.
    """
    return summarize_columns({"intersection": intersections, "union": unions, "targets": targets, "area": areas})
