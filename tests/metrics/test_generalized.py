"""gIoU, cIoU, N-acc and T-acc against a computation on masks, written from the paper's definitions."""

import numpy as np
import pytest

from barbench.metrics import THRESHOLDS, Scores, overlap, summarize_generalized

Masks = list[np.ndarray]


def independent(predictions: Masks, truths: Masks) -> dict[str, float]:
    """By sets of pixels: true and false positives and negatives of "no target", IoU of the rest."""
    giou, intersections, unions = [], 0, 0
    tp = fn = tn = fp = 0
    for prediction, truth in zip(predictions, truths, strict=True):
        found = set(map(tuple, np.argwhere(prediction)))
        meant = set(map(tuple, np.argwhere(truth)))
        intersections += len(found & meant)
        unions += len(found | meant)
        if not meant:
            giou.append(0.0 if found else 1.0)
            tp, fn = tp + (not found), fn + bool(found)
        else:
            giou.append(len(found & meant) / len(found | meant))
            tn, fp = tn + bool(found), fp + (not found)
    return {
        "giou": sum(giou) / len(giou),
        "ciou": intersections / unions,
        "n_acc": tp / (tp + fn),
        "t_acc": tn / (tn + fp),
    }


def scored(predictions: Masks, truths: Masks) -> Scores:
    pairs = [overlap(p, t.astype(np.uint8)) for p, t in zip(predictions, truths, strict=True)]
    intersections, unions = np.array(pairs).T
    areas = np.array([int(t.sum()) for t in truths])
    return summarize_generalized(intersections, unions, (areas > 0).astype(int), areas)


@pytest.mark.parametrize("seed", range(5))
def test_against_sets_of_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = [rng.random((6, 7)) < rng.choice([0, 0.3, 0.8]) for _ in range(60)]
    predictions = [t.copy() if rng.random() < 0.3 else rng.random((6, 7)) < rng.choice([0, 0.2, 0.7]) for t in truths]
    found, due = scored(predictions, truths), independent(predictions, truths)
    assert {name: getattr(found, name) for name in due} == pytest.approx(due)
    assert found.n == 60
    ratios = [np.sum(p & t) / np.sum(p | t) for p, t in zip(predictions, truths, strict=True) if t.any()]
    precision = [found[f"p{100 * limit:.0f}"] for limit in THRESHOLDS]
    assert precision == pytest.approx([np.mean(np.array(ratios) > limit) for limit in THRESHOLDS])


def mask(*pixels: int) -> np.ndarray:
    values = np.zeros(10, bool)
    values[list(pixels)] = True
    return values.reshape(2, 5)


@pytest.mark.parametrize(
    ("prediction", "truth", "due"),
    [
        (mask(), mask(), (1.0, 0.0, 1.0, None)),  # nothing meant, nothing found
        (mask(3), mask(), (0.0, 0.0, 0.0, None)),  # nothing meant, something found
        (mask(), mask(1, 2), (0.0, 0.0, None, 0.0)),  # something meant, nothing found
        (mask(1, 7), mask(1, 2), (1 / 3, 1 / 3, None, 1.0)),
        (mask(8), mask(1, 2), (0.0, 0.0, None, 1.0)),  # found elsewhere: it is a target all the same
    ],
)
def test_single_cases_by_hand(prediction: np.ndarray, truth: np.ndarray, due: tuple[float | None, ...]) -> None:
    found = scored([prediction], [truth])
    assert tuple(found.values.get(name) for name in ("giou", "ciou", "n_acc", "t_acc")) == due


def test_pixels_found_for_nothing_lower_ciou_alone() -> None:
    """10 of 10 pixels right, and 30 pixels where nothing is meant: gIoU 1/2, cIoU 10/40."""
    found = summarize_generalized(np.array([10, 0]), np.array([10, 30]), np.array([2, 0]), np.array([10, 0]))
    assert (found.giou, found.ciou) == (0.5, 0.25)
    assert str(found).startswith("gIoU 50.0, cIoU 25.0, P@0.5 100.0")
    assert str(found).endswith("N-acc 0.0, T-acc 100.0 over 2 expressions")
