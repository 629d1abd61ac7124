"""The drawings of the HTML page, each from one data frame: scatter plots, curves, intervals, stacked bars.

Every function returns an `<svg>` (see `svg.py`). `styles` gives the look of each label, the same in every drawing;
`x` and `y` are its axes; `name` is the drawing's own on the page; `alt` is what a screen reader says. Missing numbers
are NaN and are not drawn. Methods are named by the legend of the section, and by the tip that a pointer on a point
shows.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from textwrap import shorten
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from barbench.reports.page.style import Axis, Style, Styles
from barbench.reports.page.svg import GRID, INK, MUTED, Marks, color, inline, with_page_style

WIDE = 350
NARROW = 290
"""Width in px at which the text has 9 px; the page shows the narrow ones three, the wide ones two in a row."""


def pareto(points: pd.DataFrame, better: str) -> pd.DataFrame:
    """The Pareto front: rows, ordered by `x`, that no other row beats in `y` (higher is better) without being worse in
    `x`, whose good end is `better`, "low" or "high"."""
    sign = 1 if better == "low" else -1
    costs = sign * points["x"].to_numpy()
    gains = points["y"].to_numpy()
    on_front = []
    for cost, gain in zip(costs, gains, strict=True):
        as_good = (costs <= cost) & (gains >= gain)
        better_in_one = (costs < cost) | (gains > gain)
        on_front.append(not (as_good & better_in_one).any())
    return points[np.array(on_front, bool)].sort_values(["x", "y"])


@with_page_style
def scatter(points: pd.DataFrame, styles: Styles, x: Axis, y: Axis, name: str, alt: str) -> str:
    """Points with intervals, and the Pareto front as a dashed staircase; `points` has one row per method: label, x,
    x_low, x_high, y, y_low, y_high."""
    figure, axes = empty_figure(WIDE, 240)
    if _ratio(points["x"]) > 50:
        _logarithmic(axes, points["x"])
    # The front is a staircase: between two of its points, nothing is better than the cheaper one.
    front = pareto(points, x.better)
    steps: Literal["post", "pre"] = "post" if x.better == "low" else "pre"
    axes.step(front["x"], front["y"], where=steps, color=MUTED, linewidth=1.1, linestyle=(0, (3, 2)), zorder=1)
    marks = Marks()
    for row in _rows(points):
        style = styles[row.label]
        tip = _tip(row)
        # Lengths of the bars below and above, each a list of one.
        x_bar = [[row.x - row.x_low], [row.x_high - row.x]]
        y_bar = [[row.y - row.y_low], [row.y_high - row.y]]
        bars = axes.errorbar(row.x, row.y, y_bar, x_bar, fmt="none", ecolor=style.color, elinewidth=1.4, zorder=2)
        marks.add(bars, row.label, tip)
        (point,) = axes.plot(row.x, row.y, linestyle="", zorder=3, **style.point(8))
        marks.add(point, row.label, tip)
    axes.margins(x=0.12, y=0.14)
    axes.set(xlabel=x.text, ylabel=y.text)
    return inline(figure, name, alt, marks)


@with_page_style
def cost_curves(points: pd.DataFrame, styles: Styles, x: Axis, y: Axis, levels: Set[str], name: str, alt: str) -> str:
    """A line through the points of each curve, which may be a single one, with intervals, and the labels in `levels`
    across the drawing; `points` has label, curve, x, y, y_low, y_high, ordered by x, and `styles` is by curve."""
    is_level = points["label"].isin(levels)
    inside = points[~is_level]
    figure, axes = empty_figure(WIDE, 270)
    if _ratio(inside["x"]) > 20:
        _logarithmic(axes, inside["x"])
    marks = Marks()
    for curve, line in inside.groupby("curve", sort=False):
        style = styles[str(curve)]
        bars = axes.errorbar(
            line["x"],
            line["y"],
            [line["y"] - line["y_low"], line["y_high"] - line["y"]],
            color=style.color,
            linestyle=style.dashes,
            linewidth=1.2,
            elinewidth=1,
        )
        # Each point is an artist of its own, so that it can have a tip.
        marks.add(bars, str(curve), str(curve))
        for row in _rows(line):
            (point,) = axes.plot(row.x, row.y, linestyle="", **style.point(6))
            marks.add(point, str(curve), _tip(row))
    for row in _rows(points[is_level]):
        color = styles[row.curve].color
        level = axes.axhline(row.y, color=color, linewidth=1.2, linestyle=(0, (2, 2)), zorder=1)
        marks.add(level, row.curve, _tip(row))
    axes.margins(x=0.08, y=0.1)
    axes.set(xlabel=x.text, ylabel=y.text)
    return inline(figure, name, alt, marks)


def _rows(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as tuples with a field per column."""
    return iter(frame.itertuples())


def _tip(row: Any) -> str:
    """What a pointer on a point shows."""
    return f"{row.label}: {row.y:.4g} at {row.x:.3g}"


@with_page_style
def curves(
    lines: pd.DataFrame, styles: Styles, x: Axis, y: Axis, name: str, alt: str, marks: Sequence[float] = ()
) -> str:
    """One line per label, with a band from `low` to `high` if they differ; `lines` has label, x, y, low, high, ordered
    by x. `marks` are positions on x of each line's markers; without them a short line has one everywhere."""
    figure, axes = empty_figure(NARROW, 195)
    drawn = Marks()
    for key, line in lines.groupby("label", sort=False):
        label = str(key)
        style = styles[label]
        if (line["high"] > line["low"]).any():
            band = axes.fill_between(line["x"], line["low"], line["high"], color=style.color, alpha=0.15, linewidth=0)
            drawn.add(band, label, f"{label}: from the lowest to the highest seed")
        (curve,) = axes.plot(line["x"], line["y"], color=style.color, linestyle=style.dashes)
        last = line.iloc[-1]
        drawn.add(curve, label, f"{label}: {last['y']:.4g} at the end")
        # Each point is an artist of its own, so that it can have a tip.
        for row in _rows(_marked(line, marks)):
            (point,) = axes.plot(row.x, row.y, linestyle="", **style.point(5))
            drawn.add(point, label, _tip(row))
    axes.margins(x=0.03)
    axes.set(xlabel=x.text, ylabel=y.text)
    axes.set_ylim(bottom=0)
    # With marks x is a threshold and y a percentage; without, x counts epochs.
    if marks:
        axes.xaxis.set_major_locator(FixedLocator([0, *marks, 1]))
        axes.set_ylim(0, 100)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 4))
    return inline(figure, name, alt, drawn)


def _marked(line: pd.DataFrame, marks: Sequence[float]) -> pd.DataFrame:
    """The points of a line that get a marker."""
    if marks:
        return line[line["x"].round(6).isin(np.round(marks, 6))]
    if len(line) <= 12:
        return line
    return line[:0]


@with_page_style
def intervals(bands: pd.DataFrame, styles: Styles, x: Axis, y: Axis, name: str, alt: str) -> str:
    """For each band the means of all labels side by side, with intervals and the band's number of expressions; `bands`
    has label, band, mean, low, high, n, in the order of the first label."""
    figure, axes = empty_figure(NARROW, 205, bottom=48)
    order = list(dict.fromkeys(bands["band"]))
    labels = list(dict.fromkeys(bands["label"]))
    # The methods of a band are beside each other, around the band's position.
    step = min(0.14, 0.72 / len(labels))
    marks = Marks()
    for place, label in enumerate(labels):
        rows = bands[bands["label"] == label]
        style = styles[label]
        middles = np.array([order.index(band) for band in rows["band"]])
        beside = place - (len(labels) - 1) / 2
        at = middles + beside * step
        below = rows["mean"] - rows["low"]
        above = rows["high"] - rows["mean"]
        # A band of one image has no interval.
        lengths = np.nan_to_num(np.stack([below, above]))
        bars = axes.errorbar(at, rows["mean"], lengths, fmt="none", ecolor=style.color, elinewidth=1.3)
        marks.add(bars, label, label)
        for where, row in zip(at, _rows(rows), strict=True):
            (point,) = axes.plot(where, row.mean, linestyle="", **style.point(6))
            marks.add(point, label, f"{label}: {row.mean:.4g} at {row.band}")
    _band_axis(axes, order, bands.groupby("band")["n"].max())
    axes.set_ylim(bottom=max(0, axes.get_ylim()[0]))
    axes.set(xlabel=x.text, ylabel=y.text)
    return inline(figure, name, alt, marks)


def _band_axis(axes: Axes, order: Sequence[str], counts: "pd.Series[int]") -> None:
    """An x axis of bands: their names with the number of expressions, and lines between them."""
    names = [f"{band}\nn = {counts[band]:,}" for band in order]
    axes.set_xticks(range(len(order)), names)
    axes.set_xlim(-0.5, len(order) - 0.5)
    for border in range(1, len(order)):
        axes.axvline(border - 0.5, color=GRID, linewidth=0.8)
    axes.grid(False, axis="x")


@with_page_style
def stacks(parts: pd.DataFrame, x: Axis, name: str, alt: str, places: Mapping[str, int]) -> str:
    """Horizontal bars, one per label of the index, with each bar's sum behind it; `places` are the indices of the
    columns' colors, the page's variables `--p<index>`."""
    names = [str(label) for label in parts.index]
    margin = min(130, 14 + 4.9 * max(map(len, names)))
    figure, axes = empty_figure(NARROW, 46 + 21 * len(parts), left=margin)
    # Each part begins where the parts before it end.
    rows = np.arange(len(parts))
    sums = np.zeros(len(parts))
    marks = Marks()
    for part in parts.columns:
        width = parts[part].to_numpy(float)
        bars = axes.barh(rows, width, 0.62, sums, color=color("p", places[str(part)]))
        for bar, label, count in zip(bars, names, width, strict=True):
            marks.add(bar, "", f"{label}: {part} {count:,.4g}")
        sums += width
    for row, total in zip(rows, sums, strict=True):
        axes.annotate(
            f"{total:,.3g}", (total, row), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK
        )
    axes.set_yticks(rows, [shorten(name, 26, placeholder="…") for name in names])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(0, max(sums.max() * 1.16, 1e-9))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(x.text)
    return inline(figure, name, alt, marks)


@with_page_style
def glyph(style: Style, name: str) -> str:
    """A label's line and marker as a drawing called `name`, for a legend in the page's text."""
    figure = Figure((26 / 72, 13 / 72), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 26), ylim=(0, 13))
    axes.set_axis_off()
    axes.plot([1, 25], [6.5, 6.5], color=style.color, linestyle=style.dashes)
    axes.plot(13, 6.5, **style.point(8))
    return inline(figure, name, "")


def empty_figure(width: float, height: float, left: float = 40, bottom: float = 36) -> tuple[Figure, Axes]:
    """A figure of this size in px, with one pair of axes that leaves space for text around it."""
    figure = Figure((width / 72, height / 72), dpi=72)
    # Axes are placed in shares of the figure.
    across = (width - left - 12) / width
    up = (height - bottom - 8) / height
    axes = figure.add_axes((left / width, bottom / height, across, up))
    return figure, axes


def _ratio(values: "pd.Series[float]") -> float:
    """The largest positive value over the smallest; 1 if there is none."""
    positive = values[values > 0]
    if not len(positive):
        return 1
    return float(positive.max() / positive.min())


def _logarithmic(axes: Axes, values: "pd.Series[float]") -> None:
    """A logarithmic x axis that also has a position for 0."""
    # Below the smallest power of ten the axis is linear, so that 0 has a place.
    decade = 10.0 ** np.floor(np.log10(values[values > 0].min()))
    axes.set_xscale("symlog", linthresh=decade, linscale=0.4)
    ticks = []
    if (values <= 0).any():
        ticks.append(0.0)
    for power in range(12):
        tick = decade * 10**power
        if tick <= 3 * values.max():
            ticks.append(tick)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
