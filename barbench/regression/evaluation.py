"""The section `evaluation`: the metrics on fixed counts, and all steps from an image to scores with fixed weights."""

import numpy as np

from barbench.engine.evaluate import evaluate
from barbench.metrics import Scores, overlap, summarize
from barbench.progress import OnProgress
from barbench.regression.fixtures import PAPER, accelerator, evaluation, filled, shapes
from barbench.regression.rules import Value, Values

REFERENCES = 12
BATCH = 8
THRESHOLD = 0.35


def scores_with_fixed_weights(progress: OnProgress) -> Values:
    """`metrics/<name>`, and `<method>/<target or swapped>` with mean IoU first."""
    found = _metrics()
    samples = evaluation(shapes(), REFERENCES)
    for number, spec in enumerate(PAPER):
        result = evaluate(filled(spec).eval(), samples, accelerator(), batch=BATCH, threshold=THRESHOLD)
        assert result.control is not None
        found[f"{spec.name}/target"] = _vector(result.metrics)
        found[f"{spec.name}/swapped"] = _vector(result.control)
        progress(number + 1, len(PAPER))
    return found


def _metrics() -> dict[str, Value]:
    """Metrics of counts with ratios exactly on each threshold, an empty prediction and an empty union."""
    # Counts in pixels of ten expressions, and two overlapping shapes.
    intersections = np.array([0, 0, 5, 6, 7, 8, 9, 10, 3, 71], np.int64)
    unions = np.array([0, 10, 10, 10, 10, 10, 10, 10, 7, 90], np.int64)
    metrics = summarize(intersections, unions)
    rows, columns = np.indices((40, 50))
    prediction = (rows - 20) ** 2 + (columns - 22) ** 2 < 150
    target = ((rows > 15) & (columns > 20)).astype(np.uint8)
    return {
        "metrics/mean IoU": metrics["miou"],
        "metrics/overall IoU": metrics["oiou"],
        "metrics/precision": _precision(metrics),
        "metrics/overlap": [float(count) for count in overlap(prediction, target)],
    }


def _precision(scores: Scores) -> list[float]:
    """P@0.5 to P@0.9, whatever else METRICS has."""
    return [scores[name] for name in ("p50", "p60", "p70", "p80", "p90")]


def _vector(scores: Scores) -> list[float]:
    return [scores["miou"], scores["oiou"], float(scores.n), *_precision(scores)]
