"""Scores against torchmetrics, and against the definitions in numpy."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_jaccard_index

from barbench.metrics import THRESHOLDS, iou, overlap, summarise


def masks(count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of masks that overlap to all degrees, (count, 12, 17) each."""
    rng = np.random.default_rng(seed)
    target = rng.random((count, 12, 17)) < rng.uniform(0.1, 0.9, (count, 1, 1))
    flip = rng.random(target.shape) < rng.uniform(0, 0.5, (count, 1, 1))
    return target ^ flip, target.astype(np.uint8)


def counts(predictions: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersections and unions of pairs of masks, in pixels."""
    pairs = [overlap(p, t) for p, t in zip(predictions, targets, strict=True)]
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])


def test_against_torchmetrics() -> None:
    predictions, targets = masks()
    found = summarise(*counts(predictions, targets))
    p, t = torch.from_numpy(predictions).long(), torch.from_numpy(targets).long()
    each = [float(binary_jaccard_index(a, b)) for a, b in zip(p, t, strict=True)]
    assert found.miou == pytest.approx(np.mean(each), abs=1e-6)
    assert found.oiou == pytest.approx(float(binary_jaccard_index(p.flatten(), t.flatten())), abs=1e-6)
    assert min(each) < 0.5 < 0.9 < max(each)
    assert found.precision == pytest.approx([np.mean(np.array(each) > x) for x in (0.5, 0.6, 0.7, 0.8, 0.9)])
    assert found.n == len(each)


def test_against_the_definitions() -> None:
    predictions, targets = masks(seed=1)
    meet, join = predictions & (targets > 0), predictions | (targets > 0)
    found = summarise(*counts(predictions, targets))
    assert found.miou == pytest.approx(np.mean(meet.sum((1, 2)) / join.sum((1, 2))), rel=1e-12)
    assert found.oiou == pytest.approx(meet.sum() / join.sum(), rel=1e-12)


def test_precision_is_strictly_greater() -> None:
    exact = summarise(np.array([5, 6, 7, 8, 9]), np.full(5, 10))
    assert THRESHOLDS == (0.5, 0.6, 0.7, 0.8, 0.9)
    assert exact.precision == (0.8, 0.6, 0.4, 0.2, 0.0)
    assert summarise(np.array([501]), np.array([1000])).precision[0] == 1.0


def test_nothing_found_scores_zero_even_where_there_is_nothing() -> None:
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), np.uint8)
    assert overlap(empty, full) == (0, 16)
    assert overlap(empty, np.zeros((4, 4), np.uint8)) == (0, 0)
    found = summarise(np.array([0, 0]), np.array([16, 0]))
    assert found[:4] == (0.0, 0.0, (0.0,) * 5, 2)
    assert iou(np.array([0]), np.array([0])).tolist() == [0.0]


def test_perfect_masks_score_one() -> None:
    _, targets = masks()
    assert summarise(*counts(targets > 0, targets))[:4] == (1.0, 1.0, (1.0,) * 5, 40)


def test_order_does_not_matter() -> None:
    intersections, unions = counts(*masks())
    order = np.random.default_rng(3).permutation(len(unions))
    first, second = summarise(intersections, unions), summarise(intersections[order], unions[order])
    assert first.miou == pytest.approx(second.miou, rel=1e-14)
    assert first[1:] == second[1:]


def test_overall_iou_weighs_by_size_and_mean_iou_does_not() -> None:
    found = summarise(np.array([0, 1000]), np.array([10, 1000]))
    assert found.miou == 0.5
    assert found.oiou == pytest.approx(1000 / 1010)


def test_counts_of_a_large_split_do_not_overflow() -> None:
    many = np.full(50_000, 640 * 640, np.int64)
    assert summarise(many, many).oiou == 1.0


def test_no_expression_is_an_error() -> None:
    with pytest.raises(ValueError, match="no expression"):
        summarise(np.array([], np.int64), np.array([], np.int64))
