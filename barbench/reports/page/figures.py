"""The figures of one group of comparable records: each a drawing with a title that says what it shows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import pandas as pd

from barbench.metrics import THRESHOLDS
from barbench.paper.tables import Column, dataset_title
from barbench.reports.page import plots
from barbench.reports.page.expressions import Scored, band_frame, pooled, precision_frame
from barbench.reports.page.frames import PARTS, Costs, history, ledger
from barbench.reports.page.style import Axis, Style, Styles
from barbench.reports.tables.grouping import Group, name_columns

COST_AXES: Final = {
    "parameters": ("tuned parameters", Axis("Tuned parameters, adapter group (M)", "low")),
    "memory": ("peak memory", Axis("Peak memory in training (GiB)", "low")),
    "training": ("training throughput", Axis("Training (images/s)", "high")),
    "inference": ("inference throughput", Axis("Inference (images/s)", "high")),
}
PART_NAMES: Final = {"adapter": "Adapter", "positional": "Positional embeddings", "head": "Head", "frozen": "Frozen"}
BANDS: Final = {"words": "words", "size": "object's share of the image", "kind": "kind of expression"}


class Drawing(NamedTuple):
    """A drawing, its title, and what to keep in mind."""

    title: str
    svg: str
    note: str = ""


def cost_figures(costs: Costs, styles: Styles, prefix: str) -> Iterator[Drawing]:
    """Draw IoU against each cost that was measured.

    Args:
        costs: scores and costs of the group.
        styles: by label.
        prefix: of the drawings' names on the page.

    Yields:
        One drawing per cost.
    """
    score = Axis("Average IoU (%)")
    for name, (words, axis) in COST_AXES.items():
        columns = {f"{name}{end}": f"x{end}" for end in ("", "_low", "_high")}
        columns |= {f"iou{end}": f"y{end}" for end in ("", "_low", "_high")}
        points = costs.frame.rename(columns=columns).dropna(subset=["x", "y"]).reset_index(drop=True)
        if len(points):
            title = f"IoU against {words}: {_front(points, axis)}"
            yield Drawing(title, plots.scatter(points, styles, axis, score, f"{prefix}-{name}", title))


def _front(points: pd.DataFrame, axis: Axis) -> str:
    if len(points) == 1:
        return f"{points['label'].iloc[0]} alone"
    front = plots.pareto(points, axis.better)["label"].tolist()
    others = [label for label in points["label"] if label not in front]
    if not others:
        return "every method is on the Pareto front"
    several = (
        f"all but {_listed(others)} are"
        if len(others) < len(front)
        else f"{_listed(front)} {'is' if len(front) == 1 else 'are'}"
    )
    return f"{several} on the Pareto front"


def training_figures(group: Group, styles: Styles, prefix: str) -> Iterator[Drawing]:
    """Draw the loss for each protocol, then the learning rates: once if they are the same for all, else per method.

    Args:
        group: comparable records.
        styles: by label.
        prefix: of the drawings' names on the page.

    Yields:
        Drawings; none without a history.
    """
    frame = history(group)
    epochs = Axis("Epoch")
    for protocol, lines in frame.groupby("protocol", sort=False):
        best = lines[lines["x"] == lines["x"].max()].sort_values("y").iloc[0]
        where = f"{dataset_title(str(protocol))}: " if frame["protocol"].nunique() > 1 else ""
        title = f"{where}training loss after epoch {best['x']} lowest for {best['label']} ({best['y']:.3f})"
        svg = plots.curves(lines, styles, epochs, Axis("Mean loss of the epoch"), f"{prefix}-loss-{protocol}", title)
        yield Drawing(title[0].upper() + title[1:], svg)
    rates = frame.assign(y=frame["lr"], low=frame["lr"], high=frame["lr"])
    if len(rates):
        first = rates[(rates["protocol"] == rates["protocol"].iloc[0])]
        same = (rates.groupby("x")["lr"].nunique() == 1).all()
        shown = first[first["label"] == first["label"].iloc[0]].assign(label="every method") if same else first
        title = f"Learning rate at the end of each epoch{', the same for every method' if same else ''}"
        looks, rate = {**styles, "every method": Style(-1)}, Axis("Learning rate of the head")
        yield Drawing(title, plots.curves(shown, looks, epochs, rate, f"{prefix}-lr", title))


def precision_figures(scored: Mapping[Column, Mapping[str, Scored]], styles: Styles, prefix: str) -> Iterator[Drawing]:
    """Draw P@X for each evaluation split.

    Args:
        scored: expressions by column and label.
        styles: by label.
        prefix: of the drawings' names on the page.

    Yields:
        One drawing per column.
    """
    for column, by_label in scored.items():
        frame = precision_frame(by_label)
        half = frame[frame["x"].round(6) == THRESHOLDS[0]]
        best = half.sort_values("y").iloc[-1]
        title = f"{column.dataset} {column.name}: {best['label']} has {best['y']:.0f} % of expressions above IoU 0.5"
        axes = Axis("IoU threshold X"), Axis("P@X (% of expressions)")
        name = f"{prefix}-pr-{column.protocol}-{column.name}"
        yield Drawing(title, plots.curves(frame, styles, *axes, name, title, marks=THRESHOLDS))


def band_figures(scored: Mapping[Column, Mapping[str, Scored]], styles: Styles, prefix: str) -> Iterator[Drawing]:
    """Draw mean IoU by length, size and kind, for each protocol over all its evaluation splits.

    Args:
        scored: expressions by column and label.
        styles: by label.
        prefix: of the drawings' names on the page.

    Yields:
        Up to three drawings per protocol.
    """
    for protocol in dict.fromkeys(column.protocol for column in scored):
        own = {column: by_label for column, by_label in scored.items() if column.protocol == protocol}
        together = pooled(list(own.values()))
        for what, axis in BANDS.items():
            frame = band_frame(together, what)
            if len(frame):
                title = f"{dataset_title(protocol)} {_trend(frame, what)}"
                score = Axis("Mean IoU (%)")
                svg = plots.intervals(frame, styles, Axis(axis), score, f"{prefix}-{what}-{protocol}", title)
                yield Drawing(title, svg, f"All of {name_columns(own)}.")


def _trend(frame: pd.DataFrame, what: str) -> str:
    """How the mean over the methods changes from band to band, in words."""
    means = frame.groupby("band", sort=False)["mean"].mean()
    if len(means) == 1:
        return f"by {BANDS[what]}: only {means.index[0]} occurs"
    if what == "kind":
        return (
            f"by kind: {means.idxmax()} scores best ({means.max():.0f} %), {means.idxmin()} worst ({means.min():.0f} %)"
        )
    ends = f"{means.iloc[0]:.0f} % at {means.index[0]}, {means.iloc[-1]:.0f} % at {means.index[-1]}"
    return f"by {'number of words' if what == 'words' else 'object size'}: {ends}"


def ledger_figures(group: Group, prefix: str) -> Iterator[Drawing]:
    """Draw the parameter ledger as bars on three scales, because each group is far larger than the one before.

    Args:
        group: comparable records.
        prefix: of the drawings' names on the page.

    Yields:
        Up to three drawings.
    """
    frame = ledger(group)
    places = {part: place for place, part in enumerate(PARTS)}
    scales = {
        "adapter": (PARTS[:2], "Adapter and positional embeddings, what the methods differ in"),
        "tuned": (PARTS[:3], "All that is trained: {} % of it is the head"),
        "all": (PARTS, "Everything: {} % stays frozen"),
    }
    for name, (parts, title) in scales.items():
        shown = frame[list(parts)]
        last, total = shown[parts[-1]], shown.sum(axis=1)
        shares = (100 * last / total.where(total > 0)).dropna()
        if not len(shares):
            continue
        share = "–".join(dict.fromkeys(f"{value:.0f}" for value in (shares.min(), shares.max())))
        text = title.format(share)
        yield Drawing(text, plots.stacks(shown, Axis("Parameters (M)"), f"{prefix}-ledger-{name}", text, places))


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
