"""Scores from pixel counts: pure functions of what is stored for each expression. METRICS lists them by name."""

from barbench.metrics.base import Columns, Counts, Floats, Metric
from barbench.metrics.iou import THRESHOLDS, iou, overlap, precision_name
from barbench.metrics.scores import (
    METRICS,
    Scores,
    ranking_metric,
    summarize,
    summarize_columns,
    summarize_generalized,
)

__all__ = [
    "METRICS",
    "THRESHOLDS",
    "Columns",
    "Counts",
    "Floats",
    "Metric",
    "Scores",
    "iou",
    "overlap",
    "precision_name",
    "ranking_metric",
    "summarize",
    "summarize_columns",
    "summarize_generalized",
]
