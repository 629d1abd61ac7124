"""Where the names of points and curves stand in a drawing, so that none covers another."""

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

LETTER = 4.7
"""Width of a letter in px, on average."""
LINE = 9.5
"""Height of a name in px."""

Box = tuple[float, float, float, float]


def name_points(axes: Axes, points: pd.DataFrame, others: pd.DataFrame | None = None) -> list[str]:
    """Write each point's label beside it, above or below, right or left, wherever there is space.

    Args:
        axes: with everything drawn and its limits set.
        points: label, x, y.
        others: x, y of points that names must not cover; None: those of `points`.

    Returns:
        The labels for which there was no space.
    """
    axes.autoscale_view()
    frame = axes.get_window_extent()
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in _pixels(axes, points if others is None else others)]
    left = []
    for label, (x, y) in zip(points["label"], _pixels(axes, points), strict=True):
        width, height = LETTER * len(label), 9.0
        for away, right, above in product((5, 15), (True, False), (True, False)):
            start, low = x + away if right else x - away - width, y + away - 1 if above else y - away + 1 - height
            box = (start, low, start + width, low + height)
            inside = frame.x0 <= box[0] and box[2] <= frame.x1 + 10 and frame.y0 <= box[1] and box[3] <= frame.y1
            if inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                spot = start if right else box[2], low if above else box[3]
                ha, va = "left" if right else "right", "bottom" if above else "top"
                axes.annotate(label, spot, xycoords="figure pixels", ha=ha, va=va, fontsize=8.5)
                break
        else:
            left.append(label)
    return left


def name_column(axes: Axes, points: pd.DataFrame, colours: Sequence[str]) -> None:
    """Write labels in a column right of the axes, in the order of the points' heights, each tied to its point.

    Args:
        axes: with everything drawn and its limits set.
        points: label, x, y.
        colours: of the ties, in the order of `points`.
    """
    axes.autoscale_view()
    frame, spots = axes.get_window_extent(), _pixels(axes, points)
    order = spots[:, 1].argsort(kind="stable")
    for place, height in zip(order, spread(spots[order, 1], frame.y0, frame.y1, LINE), strict=True):
        tie = {
            "arrowstyle": "-",
            "color": colours[place],
            "linewidth": 0.6,
            "shrinkA": 1,
            "shrinkB": 4,
            "relpos": (0, 0.5),
        }
        axes.annotate(points["label"].iloc[place], spots[place], (frame.x1 + 14, height), xycoords="figure pixels",
                      textcoords="figure pixels", va="center", fontsize=8.5, arrowprops=tie,
                      annotation_clip=False)  # fmt: skip


def spread(wished: NDArray[np.float64], low: float, high: float, gap: float) -> NDArray[np.float64]:
    """Heights near the wished ones that keep a distance.

    Args:
        wished: ascending.
        low: the lowest height.
        high: the highest.
        gap: the distance, less where there is no space for it.

    Returns:
        Ascending heights.
    """
    placed, last = np.clip(wished, low, high), len(wished) - 1
    gap = min(gap, (high - low) / max(last, 1))
    for one, after in pairwise(range(last + 1)):
        placed[after] = max(placed[after], placed[one] + gap)
    for after, one in pairwise(range(last, -1, -1)):
        placed[after] = min(placed[after], high)
        placed[one] = min(placed[one], placed[after] - gap)
    return placed


def _pixels(axes: Axes, points: pd.DataFrame) -> NDArray[np.float64]:
    pixels: NDArray[np.float64] = axes.transData.transform(points[["x", "y"]].to_numpy(float))
    return pixels


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
