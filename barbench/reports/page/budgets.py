"""Score over cost as curves: rows of one method that differ only in their sizes are one line (`--suite pet-budget`)."""

import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any, Final

import pandas as pd

from barbench.reports.page import plots
from barbench.reports.page.figures import Drawing
from barbench.reports.page.frames import Costs
from barbench.reports.page.style import Axis, Styles
from barbench.reports.tables.grouping import Group

AXES: Final = {
    "parameters": ("tuned parameters", Axis("Tuned parameters, adapter group (M)", "low")),
    "memory": ("peak memory", Axis("Peak memory in training (GiB)", "low")),
    "time": ("training time", Axis("Training (ms per image)", "low")),
}
ENDS: Final = ("head-only", "full")
"""The methods that are drawn as levels: nothing tuned but the head, and everything."""


def curve_names(group: Group) -> dict[str, str]:
    """The curve of each row, by label: rows of one method whose options differ only in numbers and towers are one
    curve."""
    members: dict[tuple[str, str], list[str]] = {}
    for row in group.rows:
        cell = row.records[0].cell
        fixed = sorted((name, str(value)) for name, value in cell.options.items() if not _is_knob(name, value))
        members.setdefault((cell.method, str(fixed)), []).append(row.label)
    return {label: _common(labels) for labels in members.values() for label in labels}


def _is_knob(name: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number or value is None or name.endswith(".towers")


def _common(labels: list[str]) -> str:
    """What labels with different ends have in common, in whole parts.

    >>> _common(["LoRA, all maps, B1", "LoRA, all maps, B2"])
    'LoRA, all maps'
    """
    if len(labels) == 1:
        return labels[0]
    shared = takewhile(lambda letters: len(set(letters)) == 1, zip(*labels, strict=False))
    return re.sub(r"(, | \()[^,(]*$", "", "".join(letters[0] for letters in shared)) or labels[0]


def budget_figures(costs: Costs, group: Group, styles: Styles, prefix: str) -> Iterator[Drawing]:
    """Draw IoU over each cost, one line per curve.

    Args:
        costs: scores and costs of the group.
        group: comparable records.
        styles: by label.
        prefix: of the drawings' names on the page.

    Yields:
        Drawings; none if every curve is a single point.
    """
    names = curve_names(group)
    frame = costs.frame.assign(curve=[names[label] for label in costs.frame["label"]])
    if frame["curve"].nunique() == len(frame):
        return
    for end in ("", "_low", "_high"):
        other = {"_low": "_high", "_high": "_low"}.get(end, "")  # the fastest seed has the shortest time
        frame[f"time{end}"] = 1000 / frame[f"training{other}"]
    ends = {row.label for row in group.rows if row.records[0].cell.method in ENDS}
    looks = {**styles, **{name: styles[label] for label, name in reversed(names.items())}}
    for cost, (words, axis) in AXES.items():
        points = _points(frame, cost)
        if len(points):
            title = f"IoU over {words}, a line per method: {_best(points[~points['label'].isin(ends)])}"
            svg = plots.cost_curves(points, looks, axis, Axis("Average IoU (%)"), ends, f"{prefix}-over-{cost}", title)
            yield Drawing(title, svg, "Levels: the head alone, and all that can be tuned." if ends else "")


def _points(frame: pd.DataFrame, cost: str) -> pd.DataFrame:
    columns: Mapping[str, str] = {f"{cost}{end}": f"x{end}" for end in ("", "_low", "_high")}
    columns = {**columns, **{f"iou{end}": f"y{end}" for end in ("", "_low", "_high")}}
    return frame.rename(columns=columns).dropna(subset=["x", "y"]).sort_values("x").reset_index(drop=True)


def _best(points: pd.DataFrame) -> str:
    if not len(points):
        return "no finished cell"
    top = points.sort_values("y").iloc[-1]
    return f"{top['curve']} reaches the most ({top['y']:.1f})"
