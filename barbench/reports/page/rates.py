"""The learning-rate curve of every searched method: how wide the good range is, a small drawing each."""

import math
from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from barbench.reports.page.svg import INK, MUTED, inline, with_page_style
from barbench.spec.search import Trial

COLUMNS: Final = 6
SIDE: Final = (118, 96)
"""Width and height of one drawing, in px."""


def rate_curves(trials: Sequence[Trial]) -> Figure:
    """Held-out mean IoU (%) over the learning rate of a method's own parameters, lr times adapter_lr, on equal axes.

    A filled point is the best trial. A cross is a training whose numbers became infinite.
    """
    methods = list(dict.fromkeys(trial.method for trial in trials))
    columns = min(COLUMNS, len(methods))
    rows = math.ceil(len(methods) / columns)
    figure = Figure(figsize=(columns * SIDE[0] / 72, (rows * SIDE[1] + 26) / 72), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    places = list(grid.flat)
    for axes, method in zip(places, methods, strict=False):
        _draw(axes, method, [trial for trial in trials if trial.method == method])
    # The last row may have empty places.
    for axes in places[len(methods) :]:
        axes.set_visible(False)
    figure.supxlabel("learning rate of what the method tunes", fontsize=8)
    figure.supylabel("held-out mean IoU (%)", fontsize=8)
    return figure


@with_page_style
def rate_drawing(trials: Sequence[Trial], name: str, alt: str) -> str:
    """`rate_curves` as an `<svg>` of the page; `name` is the drawing's own on the page, `alt` for screen readers."""
    return inline(rate_curves(trials), name, alt)


def _draw(axes: Axes, method: str, trials: Sequence[Trial]) -> None:
    """One method's curve, by rising rate."""
    axes.set_title(method, fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=7)
    # By rising rate: a line through the trials that ended.
    ordered = sorted(trials, key=_rate)
    finished = [trial for trial in ordered if trial.score is not None]
    rates = [_rate(trial) for trial in finished]
    scores = [_percent(trial) for trial in finished]
    axes.plot(rates, scores, color=MUTED, linewidth=1.0, marker="o", markersize=3, markerfacecolor="none")
    # Trials that diverged, at the bottom; and the best one.
    failed = [_rate(trial) for trial in ordered if trial.score is None]
    axes.plot(failed, [0.0] * len(failed), color=MUTED, linestyle="", marker="x", markersize=4)
    if finished:
        best = max(finished, key=_percent)
        axes.plot(_rate(best), _percent(best), color=INK, linestyle="", marker="o", markersize=5)


def _rate(trial: Trial) -> float:
    return trial.values["lr"] * trial.values["adapter_lr"]


def _percent(trial: Trial) -> float:
    return 100 * (trial.score or 0.0)
