"""Score over cost as curves: rows of one method that differ only in their sizes are one line (`--suite pet-budget`)."""

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, Final

import pandas as pd

from barbench.paper.tables import FULL, HEAD_ONLY
from barbench.reports.page import plots
from barbench.reports.page.figures import COST_AXES, Drawing, to_points
from barbench.reports.page.frames import Costs
from barbench.reports.page.style import Axis, Style, Styles
from barbench.reports.tables.grouping import Group

LEVELS: Final = (HEAD_ONLY, FULL)
"""The methods that are drawn as levels: nothing tuned but the head, and everything."""


def curve_names(group: Group) -> dict[str, str]:
    """The curve of each row, by label: rows of one method whose options differ only in numbers and towers are one
    curve."""
    # Rows by their method and all that is no size.
    members: dict[tuple[str, str], list[str]] = {}
    for row in group.rows:
        cell = row.cell
        fixed = []
        for name, value in sorted(cell.chosen.items()):
            if not _is_knob(name, value):
                fixed.append((name, str(value)))
        key = (cell.method, f"{fixed} {row.rates}")
        members.setdefault(key, []).append(row.label)
    # The name of a curve is what its rows' labels have in common.
    names = {}
    for labels in members.values():
        names.update(dict.fromkeys(labels, _common(labels)))
    return names


def curve_styles(costs: Costs, group: Group, styles: Styles) -> Styles:
    """The style of each curve that has a point: that of its first row in `styles`."""
    names = curve_names(group)
    chosen: dict[str, Style] = {}
    for label in costs.frame["label"]:
        chosen.setdefault(names[label], styles[label])
    return chosen


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
    start = "".join(letters[0] for letters in shared)
    # A part that ends in mid-word goes.
    return re.sub(r"(, | \()[^,(]*$", "", start) or labels[0]


def budget_figures(costs: Costs, group: Group, styles: Styles, prefix: str) -> Iterator[Drawing]:
    """Draw IoU over each cost, one line per curve of `curve_styles`; nothing if every curve is a single point."""
    names = curve_names(group)
    frame = costs.frame.assign(curve=costs.frame["label"].map(names))
    if frame["curve"].nunique() == len(frame):
        return
    # The fastest seed has the shortest time.
    frame["time"] = 1000 / frame["training"]
    frame["time_low"] = 1000 / frame["training_high"]
    frame["time_high"] = 1000 / frame["training_low"]
    levels = {row.label for row in group.rows if row.cell.method in LEVELS}
    note = "Dashed levels: the head alone, and all that can be tuned." if levels else ""
    score = Axis("Average IoU (%)")
    for cost in ("parameters", "memory", "time"):
        words, axis = COST_AXES[cost]
        points = to_points(frame, cost).sort_values("x").reset_index(drop=True)
        if not len(points):
            continue
        title = f"IoU over {words}, a line per method: {_best(points[~points['label'].isin(levels)])}"
        svg = plots.cost_curves(points, styles, axis, score, levels, f"{prefix}-over-{cost}", title)
        yield Drawing(title, svg, note)


def _best(points: pd.DataFrame) -> str:
    if not len(points):
        return "no finished cell"
    top = points.sort_values("y").iloc[-1]
    return f"{top['curve']} reaches the most ({top['y']:.1f})"
