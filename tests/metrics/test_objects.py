"""Metrics over objects: an example by hand, laws, and what is left out where it is not defined."""

import numpy as np
import pytest

from barbench.metrics import (
    METRICS,
    THRESHOLDS,
    exact_ties,
    precision_name,
    shared_objects,
    summarize_columns,
    weak_name,
)
from barbench.metrics.objects import all_terms

HAND = {
    # Image 1: objects 10 (three sentences) and 11 (two); image 2: object 10 of that image (two).
    "image_id": np.array([1, 1, 1, 1, 1, 2, 2]),
    "ann_id": np.array([10, 10, 10, 11, 11, 10, 10]),
    "ref_id": np.array([1, 1, 1, 2, 2, 3, 3]),
    "intersection": np.array([8, 5, 7, 9, 9, 0, 6]),
    "union": np.array([10, 10, 10, 10, 10, 10, 8]),
    "area": np.array([10, 10, 10, 10, 10, 10, 7]),
    "height": np.full(7, 20),
    "width": np.full(7, 10),
}


def random_columns(seed: int, sentences: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, sentences + 1, 60)
    objects = np.repeat(np.arange(60), counts)
    area = rng.integers(5, 9000, 60)[objects]
    union = area + rng.integers(0, 50, len(objects))
    return {
        "image_id": objects // 3,
        "ann_id": objects,
        "intersection": rng.binomial(area, 0.7),
        "union": union,
        "area": area,
        "height": np.full(len(objects), 300),
        "width": np.full(len(objects), 200),
    }


def test_the_example_by_hand() -> None:
    scores = summarize_columns(HAND)
    expected = {
        "miou": 0.65,
        "oiou": 0.647059,
        "all50": 2 / 3,
        "all70": 1 / 3,
        "worst": 0.466667,
        "p70": 4 / 7,
        "p70_weak": 5 / 7,
        "object_spread": 0.286320,
        "icc": 0.231867,
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=5e-7)
    assert exact_ties(HAND, 0.7) == 1
    # Objects: 2 / 3, 0.9, 0.375.
    assert scores["object_mean"] == pytest.approx((2 / 3 + 0.9 + 0.375) / 3)


def test_the_order_of_expressions_does_not_matter() -> None:
    columns = random_columns(1)
    order = np.random.default_rng(2).permutation(len(columns["union"]))
    shuffled = summarize_columns({name: column[order] for name, column in columns.items()})
    assert shuffled.values == pytest.approx(summarize_columns(columns).values, rel=1e-12)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_with_one_sentence_an_object_all_is_the_weak_precision(threshold: float) -> None:
    columns = random_columns(3, sentences=1)
    columns["union"] = np.full(60, 10)
    columns["intersection"] = np.arange(60) % 11
    numerators, denominators = all_terms(columns, threshold, fewest=1)
    scores = summarize_columns(columns)
    assert numerators.sum() / denominators.sum() == scores[weak_name(threshold)]
    assert scores[weak_name(threshold)] > scores[precision_name(threshold)]
    # Printed over objects with two sentences, of which there is none.
    assert {"all50", "all70", "all90", "worst", "object_spread", "icc"}.isdisjoint(scores.values)
    assert scores["object_mean"] == pytest.approx(scores["miou"])


def test_strict_and_weak_precision_differ_by_the_exact_ties() -> None:
    unions = np.tile(np.arange(1, 200), 3)
    rng = np.random.default_rng(4)
    columns = {"union": unions, "intersection": rng.integers(0, unions + 1)}
    columns |= {"image_id": np.arange(len(unions)), "ann_id": np.arange(len(unions))}
    scores = summarize_columns(columns)
    ties = 0
    for threshold in THRESHOLDS:
        tenths = round(10 * threshold)
        # In whole numbers, without any rounding.
        exact = int((10 * columns["intersection"] == tenths * unions).sum())
        assert exact_ties(columns, threshold) == exact
        difference = scores[weak_name(threshold)] - scores[precision_name(threshold)]
        assert difference == pytest.approx(exact / len(unions))
        ties += exact
    assert ties > 0


def test_against_plain_loops() -> None:
    columns = random_columns(5)
    by_object: dict[tuple[int, int], list[float]] = {}
    for image, ann, inter, union in zip(*(columns[n].tolist() for n in ("image_id", "ann_id", "intersection", "union")),
                                        strict=True):  # fmt: skip
        by_object.setdefault((image, ann), []).append(inter / union)
    several = [scores for scores in by_object.values() if len(scores) > 1]
    scores = summarize_columns(columns)
    assert len(several) < len(by_object)
    assert scores["all70"] == pytest.approx(np.mean([min(each) >= 0.7 for each in several]))
    assert scores["worst"] == pytest.approx(np.mean([min(each) for each in several]))
    assert scores["object_mean"] == pytest.approx(np.mean([np.mean(each) for each in by_object.values()]))
    squares = sum(np.var(each) * len(each) for each in by_object.values())
    free = sum(len(each) - 1 for each in by_object.values())
    assert scores["object_spread"] == pytest.approx(np.sqrt(squares / free))


def test_an_object_is_an_annotation_of_an_image_whatever_its_references() -> None:
    assert shared_objects(HAND) == []
    twice = HAND | {"ref_id": np.array([1, 1, 4, 2, 2, 3, 3])}
    assert shared_objects(twice) == [(1, 10, (1, 4))]


def test_sizes_by_both_rules() -> None:
    # Of 200 pixels: 10 are 5 %, 7 are 3.5 %; all are below 32 x 32 pixels.
    scores = summarize_columns(HAND | {"area": np.array([3, 4, 40, 41, 50, 10, 7])})
    assert scores["miou_share_small"] == pytest.approx(0.8)
    assert scores["miou_share_medium"] == pytest.approx((0.5 + 0.7 + 0 + 0.75) / 4)
    assert scores["miou_share_large"] == pytest.approx(0.9)
    assert scores["miou_coco_small"] == pytest.approx(0.65)
    assert "miou_coco_large" not in scores.values
    bounds = {"height": np.full(7, 2000), "width": np.full(7, 2000)}
    bounds["area"] = np.array([1023, 1024, 9216, 9217, 9217, 9217, 9217])
    scores = summarize_columns(HAND | bounds)
    assert scores["miou_coco_medium"] == pytest.approx((0.5 + 0.7) / 2)


def test_what_an_expression_means_must_be_one_object() -> None:
    found = summarize_columns(HAND | {"targets": np.ones(7, np.int64)})
    assert not {name for name in found.values if METRICS[name].detail}


def test_a_line_of_scores_stays_short() -> None:
    assert str(summarize_columns(HAND)) == (
        "mIoU 65.0, oIoU 64.7, P@0.5 71.4, P@0.6 71.4, P@0.7 57.1, P@0.8 28.6, P@0.9 0.0 over 7 expressions"
    )
