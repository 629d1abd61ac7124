"""The figures of one group of comparable records: each a drawing with a title that says what it shows."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import pandas as pd

from barbench.metrics import THRESHOLDS
from barbench.paper.tables import Column, dataset_title
from barbench.reports.page import plots
from barbench.reports.page.expressions import Scored, band_frame, pooled, precision_frame
from barbench.reports.page.frames import COSTS, PARTS, Costs, history, ledger, loss_curve
from barbench.reports.page.style import Axis, Style, Styles
from barbench.reports.tables.grouping import Group, name_columns
from barbench.reports.tables.notes import capitalized
from barbench.spec.text import listed

COST_AXES: Final = {
    "parameters": ("tuned parameters", Axis("Tuned parameters, adapter group (M)", "low")),
    "memory": ("peak memory", Axis("Peak memory in training (GiB)", "low")),
    "training": ("training throughput", Axis("Training (images/s)", "high")),
    "inference": ("inference throughput", Axis("Inference (images/s)", "high")),
    "time": ("training time", Axis("Training (ms per image)", "low")),
}
"""Of each cost: what it is called, and its axis; `time` is for curves over budgets."""
PART_NAMES: Final = {"adapter": "Adapter", "positional": "Positional embeddings", "head": "Head", "frozen": "Frozen"}
BANDS: Final = {"words": "words", "size": "object's share of the image", "kind": "kind of expression"}


class Drawing(NamedTuple):
    """A drawing, its title, and what to keep in mind."""

    title: str
    svg: str
    note: str = ""


def cost_figures(costs: Costs, styles: Styles, prefix: str) -> Iterator[Drawing]:
    """IoU against each cost that was measured; `prefix` begins the drawings' names on the page."""
    score = Axis("Average IoU (%)")
    for name in COSTS:
        words, axis = COST_AXES[name]
        points = to_points(costs.frame, name)
        if len(points):
            title = f"IoU against {words}: {_front(points, axis)}"
            yield Drawing(title, plots.scatter(points, styles, axis, score, f"{prefix}-{name}", title))


def to_points(frame: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The rows of a frame of costs with IoU as y and the column `cost` as x, and their ends; none without either."""
    names = {}
    for end in ("", "_low", "_high"):
        names[f"{cost}{end}"] = f"x{end}"
        names[f"iou{end}"] = f"y{end}"
    return frame.rename(columns=names).dropna(subset=["x", "y"]).reset_index(drop=True)


def _front(points: pd.DataFrame, axis: Axis) -> str:
    """Which methods are on the Pareto front, or are not, whichever is shorter to say."""
    if len(points) == 1:
        return f"{points['label'].iloc[0]} alone"
    front = plots.pareto(points, axis.better)["label"].tolist()
    others = [label for label in points["label"] if label not in front]
    if not others:
        return "every method is on the Pareto front"
    if len(others) < len(front):
        return f"all but {listed(others)} are on the Pareto front"
    verb = "is" if len(front) == 1 else "are"
    return f"{listed(front)} {verb} on the Pareto front"


def training_figures(group: Group, styles: Styles, prefix: str) -> Iterator[Drawing]:
    """The loss for each data set, then the learning rates: once if they are the same for all, else per method."""
    frame = history(group)
    curves = loss_curve(group)
    epochs = Axis("Epoch")
    # Where there are as many points as epochs, no record has a curve within them.
    loss = Axis("Mean loss of the epoch" if len(curves) == len(frame) else "Training loss")
    several = frame["dataset"].nunique() > 1
    # One drawing per data set, titled by the method that ends lowest.
    for dataset, lines in frame.groupby("dataset", sort=False):
        last = lines[lines["x"] == lines["x"].max()]
        best = last.sort_values("y").iloc[0]
        title = f"training loss after epoch {best['x']} lowest for {best['label']} ({best['y']:.3f})"
        if several:
            title = f"{dataset_title(str(dataset))}: {title}"
        shown = curves[curves["dataset"] == dataset]
        svg = plots.curves(shown, styles, epochs, loss, f"{prefix}-loss-{dataset}", title)
        yield Drawing(capitalized(title), svg)
    if len(frame):
        yield _rate_figure(frame, styles, prefix)


def _rate_figure(frame: pd.DataFrame, styles: Styles, prefix: str) -> Drawing:
    rates = frame.assign(y=frame["lr"], low=frame["lr"], high=frame["lr"])
    title = "Learning rate at the end of each epoch"
    # Rates do not depend on the data set: those of the first are drawn, as one line if all methods have the same.
    shown = rates[rates["dataset"] == rates["dataset"].iloc[0]]
    if (rates.groupby("x")["lr"].nunique() == 1).all():
        title += ", the same for every method"
        one = shown[shown["label"] == shown["label"].iloc[0]]
        shown = one.assign(label="every method")
    styles = {**styles, "every method": Style(-1)}
    svg = plots.curves(shown, styles, Axis("Epoch"), Axis("Learning rate of the head"), f"{prefix}-lr", title)
    return Drawing(title, svg)


def precision_figures(scored: Mapping[Column, Mapping[str, Scored]], styles: Styles, prefix: str) -> Iterator[Drawing]:
    """P@X for each evaluation split; `scored` has the expressions by column and label."""
    threshold = Axis("IoU threshold X")
    share = Axis("P@X (% of expressions)")
    for column, by_label in scored.items():
        frame = precision_frame(by_label)
        # The title says which method is best at the lowest threshold.
        half = frame[frame["x"].round(6) == THRESHOLDS[0]]
        best = half.sort_values("y").iloc[-1]
        title = f"{column.title} {column.name}: {best['label']} has {best['y']:.0f} % of expressions above IoU 0.5"
        name = f"{prefix}-pr-{column.dataset}-{column.name}"
        svg = plots.curves(frame, styles, threshold, share, name, title, marks=THRESHOLDS)
        yield Drawing(title, svg)


def band_figures(scored: Mapping[Column, Mapping[str, Scored]], styles: Styles, prefix: str) -> Iterator[Drawing]:
    """Mean IoU by length, size and kind of the expressions, for each data set over all its evaluation splits."""
    score = Axis("Mean IoU (%)")
    for dataset in dict.fromkeys(column.dataset for column in scored):
        columns = [column for column in scored if column.dataset == dataset]
        together = pooled([scored[column] for column in columns])
        for what, axis in BANDS.items():
            frame = band_frame(together, what)
            if len(frame):
                title = f"{dataset_title(dataset)} {_trend(frame, what)}"
                svg = plots.intervals(frame, styles, Axis(axis), score, f"{prefix}-{what}-{dataset}", title)
                yield Drawing(title, svg, f"All of {name_columns(columns)}.")


def _trend(frame: pd.DataFrame, what: str) -> str:
    """How the mean over the methods changes from band to band, as a phrase."""
    means = frame.groupby("band", sort=False)["mean"].mean()
    bands = means.index
    if len(means) == 1:
        return f"by {BANDS[what]}: only {bands[0]} occurs"
    # Kinds have no order.
    if what == "kind":
        best = f"{means.idxmax()} scores best ({means.max():.0f} %)"
        return f"by kind: {best}, {means.idxmin()} worst ({means.min():.0f} %)"
    by = "number of words" if what == "words" else "object size"
    return f"by {by}: {means.iloc[0]:.0f} % at {bands[0]}, {means.iloc[-1]:.0f} % at {bands[-1]}"


def ledger_figures(group: Group, prefix: str) -> Iterator[Drawing]:
    """The parameter ledger as bars on three scales, because each part is far larger than the one before."""
    frame = ledger(group)
    places = {part: place for place, part in enumerate(PARTS)}
    scales = {
        "adapter": (PARTS[:2], "Adapter and positional embeddings, what the methods differ in"),
        "tuned": (PARTS[:3], "All that is trained: {} % of it is the head"),
        "all": (PARTS, "Everything: {} % stays frozen"),
    }
    for name, (parts, title) in scales.items():
        shown = frame[list(parts)]
        # The share of the last part, over the methods that have any parameter on this scale.
        total = shown.sum(axis=1)
        shares = (100 * shown[parts[-1]] / total.where(total > 0)).dropna()
        if not len(shares):
            continue
        low = f"{shares.min():.0f}"
        high = f"{shares.max():.0f}"
        text = title.format(low if low == high else f"{low}–{high}")
        yield Drawing(text, plots.stacks(shown, Axis("Parameters (M)"), f"{prefix}-ledger-{name}", text, places))
