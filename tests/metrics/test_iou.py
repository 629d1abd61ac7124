"""Scores against torchmetrics, and against the definitions in numpy; the mapping of metrics."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_jaccard_index

from barbench.metrics import METRICS, THRESHOLDS, Scores, iou, overlap, summarize, summarize_columns


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


def precision(scores: Scores) -> list[float]:
    return [scores[name] for name in ("p50", "p60", "p70", "p80", "p90")]


def test_against_torchmetrics() -> None:
    predictions, targets = masks()
    found = summarize(*counts(predictions, targets))
    p, t = torch.from_numpy(predictions).long(), torch.from_numpy(targets).long()
    each = [float(binary_jaccard_index(a, b)) for a, b in zip(p, t, strict=True)]
    assert found.miou == pytest.approx(np.mean(each), abs=1e-6)
    assert found.oiou == pytest.approx(float(binary_jaccard_index(p.flatten(), t.flatten())), abs=1e-6)
    assert min(each) < 0.5 < 0.9 < max(each)
    assert precision(found) == pytest.approx([np.mean(np.array(each) > x) for x in (0.5, 0.6, 0.7, 0.8, 0.9)])
    assert found.n == len(each)


def test_against_the_definitions() -> None:
    predictions, targets = masks(seed=1)
    meet, join = predictions & (targets > 0), predictions | (targets > 0)
    found = summarize(*counts(predictions, targets))
    assert found.miou == pytest.approx(np.mean(meet.sum((1, 2)) / join.sum((1, 2))), rel=1e-12)
    assert found.oiou == pytest.approx(meet.sum() / join.sum(), rel=1e-12)


def test_precision_is_strictly_greater() -> None:
    exact = summarize(np.array([5, 6, 7, 8, 9]), np.full(5, 10))
    assert THRESHOLDS == (0.5, 0.6, 0.7, 0.8, 0.9)
    assert precision(exact) == [0.8, 0.6, 0.4, 0.2, 0.0]
    assert summarize(np.array([501]), np.array([1000])).p50 == 1.0


def test_nothing_found_scores_zero_even_where_there_is_nothing() -> None:
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), np.uint8)
    assert overlap(empty, full) == (0, 16)
    assert overlap(empty, np.zeros((4, 4), np.uint8)) == (0, 0)
    found = summarize(np.array([0, 0]), np.array([16, 0]))
    assert found == Scores(n=2, miou=0, oiou=0, p50=0, p60=0, p70=0, p80=0, p90=0)
    assert iou(np.array([0]), np.array([0])).tolist() == [0.0]


def test_perfect_masks_score_one() -> None:
    _, targets = masks()
    found = summarize(*counts(targets > 0, targets))
    assert found == Scores(n=40, miou=1, oiou=1, p50=1, p60=1, p70=1, p80=1, p90=1)


def test_order_does_not_matter() -> None:
    intersections, unions = counts(*masks())
    order = np.random.default_rng(3).permutation(len(unions))
    first, second = summarize(intersections, unions), summarize(intersections[order], unions[order])
    assert first.miou == pytest.approx(second.miou, rel=1e-14)
    assert {**first.values, "miou": 0} == {**second.values, "miou": 0}


def test_overall_iou_weighs_by_size_and_mean_iou_does_not() -> None:
    found = summarize(np.array([0, 1000]), np.array([10, 1000]))
    assert found.miou == 0.5
    assert found.oiou == pytest.approx(1000 / 1010)


def test_counts_of_a_large_split_do_not_overflow() -> None:
    many = np.full(50_000, 640 * 640, np.int64)
    assert summarize(many, many).oiou == 1.0


def test_no_expression_is_an_error() -> None:
    with pytest.raises(ValueError, match="no expression"):
        summarize(np.array([], np.int64), np.array([], np.int64))


def test_every_metric_is_the_ratio_that_its_terms_say() -> None:
    """Intervals resample the terms, tables print the function: the two must agree."""
    rng = np.random.default_rng(5)
    area, targets = rng.integers(1, 90, 200), rng.integers(0, 3, 200)
    intersection = rng.binomial(area, 0.6) * (targets > 0)
    columns = {"intersection": intersection, "union": area + rng.binomial(9, 0.5, 200), "area": area * (targets > 0)}
    for stored in (columns, columns | {"targets": targets}):
        scores = summarize_columns(stored)
        assert set(scores.values) == {name for name, metric in METRICS.items() if metric.applies(stored)}
        for name, score in scores.values.items():
            terms = METRICS[name].terms
            assert terms is not None
            numerators, denominators = terms(stored)
            assert score == pytest.approx(numerators.sum() / denominators.sum(), rel=1e-12), name


def test_a_metric_whose_column_is_not_stored_is_left_out() -> None:
    columns = {"intersection": np.array([3]), "union": np.array([4]), "targets": np.array([1])}
    assert "t_acc" in METRICS
    assert "t_acc" not in summarize_columns(columns).values
    assert "t_acc" in summarize_columns(columns | {"area": np.array([4])}).values


def test_scores_are_read_by_name_and_as_attributes() -> None:
    scores = Scores(n=3, miou=0.5, oiou=0.25, p50=1)
    assert (scores["miou"], scores.miou, scores.mean, scores.overall, scores.p50) == (0.5, 0.5, 0.5, 0.25, 1.0)
    assert (scores.mean_name, Scores(n=3, giou=0.5, ciou=0.1).mean_name) == ("miou", "giou")
    with pytest.raises(KeyError):
        scores["giou"]
    with pytest.raises(AttributeError):
        _ = scores.giou


@pytest.mark.parametrize(
    "wrong", [{"miou": 1.5}, {"miou": -0.1}, {"miou": float("nan")}, {"oiou": 0.5}, {"miou": None}]
)
def test_scores_that_cannot_be_are_refused(wrong: dict[str, float | None]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Scores.model_validate({"n": 3} | wrong)


def test_a_metric_of_a_later_version_is_kept() -> None:
    scores = Scores(n=3, miou=0.5, oiou=0.25, of_later=-2.5)
    assert Scores.model_validate_json(scores.model_dump_json()) == scores
    assert scores["of_later"] == -2.5
    assert str(scores) == "mIoU 50.0, oIoU 25.0 over 3 expressions"
