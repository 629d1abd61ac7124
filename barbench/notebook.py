"""What the functions of `barbench.api` return, with a data frame and what a notebook shows of it."""

import html
from collections.abc import Callable

import pandas as pd

from barbench.engine.checkpoint import Epoch
from barbench.engine.evaluate import Evaluation
from barbench.engine.training_state import Training
from barbench.metrics import METRICS, Scores, iou
from barbench.results.compare import Comparison, ComparisonRow


class FitResult(Training):
    """A training, as `bb.fit` returns it: `history`, `curve`, `seconds`, …"""

    @property
    def frame(self) -> pd.DataFrame:
        """One row per epoch: epoch, loss, lr, seconds, steps."""
        return pd.DataFrame(self.history, columns=list(Epoch.__annotations__))

    @property
    def losses(self) -> pd.DataFrame:
        """The loss over the training: step, and the mean loss of the steps up to it."""
        if self.curve is None:
            return pd.DataFrame(columns=["step", "loss"])
        total = sum(epoch["steps"] for epoch in self.history)
        # The last mean may be of fewer steps.
        steps = [min(number * self.curve.every, total) for number in range(1, len(self.curve.losses) + 1)]
        return pd.DataFrame({"step": steps, "loss": self.curve.losses})

    def _repr_html_(self) -> str:
        return _html(self.frame, f"{self.seconds:.1f} s of training", "{:.4g}".format)


class EvaluationResult(Evaluation):
    """The scores of a split, as `bb.evaluate` returns them: `metrics`, `control`, `expressions`."""

    @property
    def frame(self) -> pd.DataFrame:
        """One row per expression: its ids, counts of pixels, and iou."""
        table = pd.DataFrame(self.expressions)
        table["iou"] = iou(self.expressions["intersection"], self.expressions["union"], self.expressions.get("targets"))
        return table

    @property
    def scores(self) -> pd.DataFrame:
        """One row per metric, in percent where it is a share; `swapped`: with expressions swapped within the image."""
        columns = {"score": _printed(self.metrics)}
        if self.control is not None:
            columns["swapped"] = _printed(self.control)
        return pd.DataFrame(columns)

    def _repr_html_(self) -> str:
        return _html(self.scores, f"{self.metrics.n:,} expressions", "{:.1f}".format, index=True)


class ComparisonResult(Comparison):
    """Two methods compared, as `bb.compare` returns it: `titles`, `rows`, `notes`."""

    @property
    def frame(self) -> pd.DataFrame:
        """One row per split and metric, unrounded."""
        return pd.DataFrame(self.rows, columns=list(ComparisonRow._fields))

    def _repr_html_(self) -> str:
        rows = pd.DataFrame([row.readable(self.titles) for row in self.rows])
        return _html(rows, f"{self.titles[0]} minus {self.titles[1]}, in percent. " + ". ".join(self.notes))


def _printed(scores: Scores) -> "pd.Series[float]":
    """The scores that METRICS knows by their labels."""
    known = {}
    for name, value in scores.values.items():
        if name in METRICS:
            known[METRICS[name].label] = METRICS[name].factor * value
    return pd.Series(known)


def _html(table: pd.DataFrame, caption: str, number: Callable[[float], str] | None = None, index: bool = False) -> str:
    """A table as HTML with a line below it; everything in it is escaped."""
    shown = table.to_html(index=index, float_format=number, border=0)
    return f"{shown}<p><small>{html.escape(caption)}</small></p>"
