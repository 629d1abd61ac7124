"""The drawings of the HTML page, each from one data frame: scatter plots, curves, intervals, stacked bars.

Every function returns an `<svg>` (see `svg.py`). `styles` gives the look of each label, the same in every drawing;
`name` is the drawing's own on the page; `alt` is what a screen reader says. Missing numbers are NaN and are not drawn.
"""

from collections.abc import Mapping, Sequence, Set
from textwrap import shorten
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from barbench.reports.page.names import LETTER, name_column, name_points
from barbench.reports.page.style import Axis, Style, Styles
from barbench.reports.page.svg import GRID, INK, MUTED, colour, inline, with_page_style

WIDE, NARROW = 350, 290
"""Width in px at which the text has 9 px; the page shows the narrow ones three, the wide ones two in a row."""


def pareto(points: pd.DataFrame, better: str) -> pd.DataFrame:
    """The Pareto front: rows that no other row beats in `y` (higher is better) without being worse in `x`.

    Args:
        points: with columns x and y.
        better: the good end of `x`, "low" or "high".

    Returns:
        Rows ordered by `x`; rows that agree in both stay together.
    """
    sign = 1 if better == "low" else -1
    cost, gain = sign * points["x"].to_numpy(), points["y"].to_numpy()
    beaten = [
        bool(((cost <= c) & (gain >= g) & ((cost < c) | (gain > g))).any()) for c, g in zip(cost, gain, strict=True)
    ]
    return points[~np.array(beaten, bool)].sort_values(["x", "y"])


@with_page_style
def scatter(points: pd.DataFrame, styles: Styles, x: Axis, y: Axis, name: str, alt: str) -> str:
    """Draw points with intervals and names, and the Pareto front as a dashed staircase.

    Args:
        points: label, x, x_low, x_high, y, y_low, y_high; one row per method.
        styles: by label.
        x: the axis, with its better end.
        y: the axis.
        name: of the drawing on the page.
        alt: for screen readers.

    Returns:
        An `<svg>` element.
    """
    figure, axes = _figure(WIDE, 240)
    positive = points["x"][points["x"] > 0]
    if len(positive) and positive.max() > 50 * positive.min():
        _logarithmic(axes, points["x"])
    front = pareto(points, x.better)
    steps: Literal["post", "pre"] = "post" if x.better == "low" else "pre"
    axes.step(front["x"], front["y"], where=steps, color=MUTED, linewidth=1.1, linestyle=(0, (3, 2)), zorder=1)
    tips: dict[str, str] = {}
    for row in points.to_dict("records"):
        style, gid = styles[row["label"]], f"tip{len(tips)}"
        yerr = [[row["y"] - row["y_low"]], [row["y_high"] - row["y"]]]
        xerr = [[row["x"] - row["x_low"]], [row["x_high"] - row["x"]]]
        axes.errorbar(row["x"], row["y"], yerr, xerr, fmt="none", ecolor=style.colour, elinewidth=1.4, zorder=2)
        axes.plot(row["x"], row["y"], linestyle="", zorder=3, gid=gid, **style.point(8))
        tips[gid] = f"{row['label']}: {row['y']:.1f} at {row['x']:.3g}"
    axes.margins(x=0.12, y=0.14)
    axes.set(xlabel=x.text, ylabel=y.text)
    name_points(axes, points)
    return inline(figure, name, alt, tips)


@with_page_style
def cost_curves(points: pd.DataFrame, styles: Styles, x: Axis, y: Axis, ends: Set[str], name: str, alt: str) -> str:
    """Draw a line through the points of each curve, with intervals; curves are named in a column on the right, single
    points beside them where there is space.

    Args:
        points: label, curve, x, y, y_low, y_high, ordered by x.
        styles: by curve.
        x: the axis.
        y: the axis.
        ends: labels that are drawn as levels across the drawing.
        name: of the drawing on the page.
        alt: for screen readers.

    Returns:
        An `<svg>` element.
    """
    inside = points[~points["label"].isin(ends)]
    last = inside.groupby("curve", sort=False).tail(1).assign(label=lambda frame: frame["curve"])
    figure, axes = _figure(WIDE, 270, right=22 + LETTER * last["label"].str.len().max() if len(last) else 12)
    positive = inside["x"][inside["x"] > 0]
    if len(positive) and positive.max() > 20 * positive.min():
        _logarithmic(axes, inside["x"])
    for curve, line in inside.groupby("curve", sort=False):
        style = styles[str(curve)]
        axes.errorbar(
            line["x"],
            line["y"],
            [line["y"] - line["y_low"], line["y_high"] - line["y"]],
            color=style.colour,
            linestyle=style.dashes,
            linewidth=1.2,
            elinewidth=1,
        )
        axes.plot(line["x"], line["y"], linestyle="", **style.point(6))
    for row in points[points["label"].isin(ends)].to_dict("records"):
        axes.axhline(row["y"], color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        axes.annotate(row["label"], (0, row["y"]), (3, 2), xycoords=("axes fraction", "data"),
                      textcoords="offset points", fontsize=8.5, color=MUTED)  # fmt: skip
    axes.margins(x=0.08, y=0.1)
    axes.set(xlabel=x.text, ylabel=y.text)
    single = last[~last["curve"].duplicated() & (last["curve"].map(inside["curve"].value_counts()) == 1)]
    left = name_points(axes, single, inside)
    column = last[~last["label"].isin(single["label"]) | last["label"].isin(left)]
    name_column(axes, column, [styles[label].colour for label in column["label"]])
    return inline(figure, name, alt)


@with_page_style
def curves(
    lines: pd.DataFrame, styles: Styles, x: Axis, y: Axis, name: str, alt: str, marks: Sequence[float] = ()
) -> str:
    """Draw one line per label, with a band from `low` to `high` if they differ.

    Args:
        lines: label, x, y, low, high, ordered by x.
        styles: by label.
        x: the axis.
        y: the axis.
        name: of the drawing on the page.
        alt: for screen readers.
        marks: positions on x of each line's markers; without them a short line has one everywhere.

    Returns:
        An `<svg>` element.
    """
    figure, axes = _figure(NARROW, 195)
    for label, line in lines.groupby("label", sort=False):
        style = styles[str(label)]
        if (line["high"] > line["low"]).any():
            axes.fill_between(line["x"], line["low"], line["high"], color=style.colour, alpha=0.15, linewidth=0)
        axes.plot(line["x"], line["y"], color=style.colour, linestyle=style.dashes)
        marked = line[line["x"].round(6).isin(np.round(marks, 6))] if marks else line[: 12 * (len(line) <= 12)]
        axes.plot(marked["x"], marked["y"], linestyle="", **style.point(5))
    axes.margins(x=0.03)
    axes.set(xlabel=x.text, ylabel=y.text)
    axes.set_ylim(bottom=0)
    if marks:
        axes.xaxis.set_major_locator(FixedLocator([0, *marks, 1]))
        axes.set_ylim(0, 100)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 4))
    return inline(figure, name, alt)


@with_page_style
def intervals(bands: pd.DataFrame, styles: Styles, x: Axis, y: Axis, name: str, alt: str) -> str:
    """Draw for each band the means of all labels side by side, with intervals and with the band's number of
    expressions.

    Args:
        bands: label, band, mean, low, high, n; bands in the order of the first label.
        styles: by label.
        x: the axis.
        y: the axis.
        name: of the drawing on the page.
        alt: for screen readers.

    Returns:
        An `<svg>` element.
    """
    figure, axes = _figure(NARROW, 205, bottom=48)
    order, labels = list(dict.fromkeys(bands["band"])), list(dict.fromkeys(bands["label"]))
    step = min(0.14, 0.72 / len(labels))
    for place, label in enumerate(labels):
        rows, style = bands[bands["label"] == label], styles[label]
        at = np.array([order.index(band) for band in rows["band"]]) + (place - (len(labels) - 1) / 2) * step
        spread = np.nan_to_num(np.stack([rows["mean"] - rows["low"], rows["high"] - rows["mean"]]))
        axes.errorbar(at, rows["mean"], spread, fmt="none", ecolor=style.colour, elinewidth=1.3)
        axes.plot(at, rows["mean"], linestyle="", **style.point(6))
    counts = bands.groupby("band")["n"].max()
    axes.set_xticks(range(len(order)), [f"{band}\nn = {counts[band]:,}" for band in order])
    axes.set_xlim(-0.5, len(order) - 0.5)
    for border in range(1, len(order)):
        axes.axvline(border - 0.5, color=GRID, linewidth=0.8)
    axes.grid(False, axis="x")
    axes.set_ylim(bottom=max(0, axes.get_ylim()[0]))
    axes.set(xlabel=x.text, ylabel=y.text)
    return inline(figure, name, alt)


@with_page_style
def stacks(parts: pd.DataFrame, x: Axis, name: str, alt: str, places: Mapping[str, int]) -> str:
    """Draw horizontal bars, one per row, with each bar's sum behind it.

    Args:
        parts: index: labels, columns: parts.
        x: the axis.
        name: of the drawing on the page.
        alt: for screen readers.
        places: part to index of the page's variables `--p<index>`.

    Returns:
        An `<svg>` element.
    """
    names = [str(label) for label in parts.index]
    figure, axes = _figure(NARROW, 46 + 21 * len(parts), left=min(130, 14 + 4.9 * max(map(len, names))))
    rows, left = np.arange(len(parts)), np.zeros(len(parts))
    for part in parts.columns:
        width = parts[part].to_numpy(float)
        axes.barh(rows, width, 0.62, left, color=colour("p", places[str(part)]))
        left += width
    for row, total in zip(rows, left, strict=True):
        axes.annotate(
            f"{total:,.3g}", (total, row), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK
        )
    axes.set_yticks(rows, [shorten(name, 26, placeholder="…") for name in names])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(0, max(left.max() * 1.16, 1e-9))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(x.text)
    return inline(figure, name, alt)


@with_page_style
def glyph(style: Style, name: str) -> str:
    """Draw a label's line and marker, for a legend in the page's text.

    Args:
        style: of the label.
        name: of the drawing on the page.

    Returns:
        An `<svg>` element.
    """
    figure = Figure((26 / 72, 13 / 72), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 26), ylim=(0, 13))
    axes.set_axis_off()
    axes.plot([1, 25], [6.5, 6.5], color=style.colour, linestyle=style.dashes)
    axes.plot(13, 6.5, **style.point(8))
    return inline(figure, name, "")


def _figure(
    width: float, height: float, left: float = 40, bottom: float = 36, right: float = 12
) -> tuple[Figure, Axes]:
    """A figure of this size in px, with one pair of axes that leaves space for text around it."""
    figure = Figure((width / 72, height / 72), dpi=72)
    inner = (left / width, bottom / height, (width - left - right) / width, (height - bottom - 8) / height)
    return figure, figure.add_axes(inner)


def _logarithmic(axes: Axes, values: "pd.Series[float]") -> None:
    """A logarithmic x axis that also has a position for 0."""
    decade = 10.0 ** np.floor(np.log10(values[values > 0].min()))
    axes.set_xscale("symlog", linthresh=decade, linscale=0.4)
    ticks = [decade * 10**power for power in range(12) if decade * 10**power <= 3 * values.max()]
    axes.xaxis.set_major_locator(FixedLocator([*([0.0] if (values <= 0).any() else []), *ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
