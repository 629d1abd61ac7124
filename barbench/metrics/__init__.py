"""Scores from pixel counts: pure functions of what is stored for each expression. METRICS lists them by name."""

from barbench.metrics.base import Columns, Counts, Floats, Metric
from barbench.metrics.iou import THRESHOLDS, iou, overlap, precision_name
from barbench.metrics.objects import (
    ALL_THRESHOLDS,
    SIZE_RULES,
    SIZES,
    SizeRule,
    all_name,
    exact_ties,
    objects_of,
    shared_objects,
    size_name,
    weak_name,
)
from barbench.metrics.scores import (
    METRICS,
    Scores,
    ranking_metric,
    summarize,
    summarize_columns,
    summarize_generalized,
)

__all__ = [
    "ALL_THRESHOLDS",
    "METRICS",
    "SIZES",
    "SIZE_RULES",
    "THRESHOLDS",
    "Columns",
    "Counts",
    "Floats",
    "Metric",
    "Scores",
    "SizeRule",
    "all_name",
    "exact_ties",
    "iou",
    "objects_of",
    "overlap",
    "precision_name",
    "ranking_metric",
    "shared_objects",
    "size_name",
    "summarize",
    "summarize_columns",
    "summarize_generalized",
    "weak_name",
]
