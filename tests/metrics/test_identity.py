"""Which object or which pixels: examples by hand, and a brute force over the masks of generated scenes."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from barbench.metrics import LEAST_TRIED, MARGINS_TRIED, METRICS, identity_columns, outcomes, right_terms
from barbench.metrics.identity import Rivals

PIXELS = 100
TARGET = set(range(20))
RIVAL = set(range(30, 60))
CATEGORY = 7
Table = dict[str, np.ndarray]


def split_of(predictions: list[set[int]]) -> Table:
    """Predictions about one target with one rival, with what follows from the rivals."""
    n = len(predictions)
    columns = {
        "intersection": np.array([len(p & TARGET) for p in predictions]),
        "union": np.array([len(p | TARGET) for p in predictions]),
        "area": np.full(n, len(TARGET)),
        "image_id": np.ones(n, int),
        "ann_id": np.ones(n, int),
        "category_id": np.full(n, CATEGORY),
    }
    rivals = {
        "row": np.arange(n),
        "ann_id": np.full(n, 2),
        "category_id": np.full(n, CATEGORY),
        "intersection": np.array([len(p & RIVAL) for p in predictions]),
        "area": np.full(n, len(RIVAL)),
    }
    return columns | identity_columns(columns, rivals)


def score(name: str, columns: Table) -> float | None:
    return METRICS[name].function(columns)


POOR = set(range(10, 20)) | set(range(30, 35))
WRONG = {19} | set(range(30, 56))
UNCLEAR = set(range(10, 20)) | set(range(30, 42))


@pytest.mark.parametrize(
    ("prediction", "target", "rival", "outcome"),
    [(POOR, 0.5774, 0.2357, 1), (WRONG, 0.0430, 0.9135, -1), (UNCLEAR, 0.4767, 0.4671, 0), (set(), 0.0, 0.0, 0)],
    ids=["poor mask", "other object", "unresolved", "empty"],
)
def test_the_examples_of_100_pixels(prediction: set[int], target: float, rival: float, outcome: int) -> None:
    columns = split_of([prediction])
    assert (round(columns["s_target"][0], 4), round(columns["s_rival"][0], 4)) == (target, rival)
    assert outcomes(columns).tolist() == [outcome]
    assert score("target_right", columns) == (outcome == 1)
    assert score("target_wrong", columns) == (outcome == -1)
    assert score("target_unresolved", columns) == (outcome == 0)


def test_the_scores_of_the_three_examples_together() -> None:
    columns = split_of([POOR, WRONG, UNCLEAR])
    assert score("quality_given_target", columns) == pytest.approx(0.4)
    assert score("identity_error", columns) == pytest.approx(2 / 3)
    assert score("switch", columns) == pytest.approx(1 / 3)
    assert score("poor_mask", columns) == pytest.approx(1 / 3)
    assert score("all_target", columns) == 0.0
    assert score("retention", columns) == 0.0
    assert score("nci", columns) is None, "no mask succeeds, so that the divisor is 0"
    assert score("donor_preference", columns) is None, "no sentence means the rival"


def test_successes_that_coincide_and_successes_that_do_not() -> None:
    """Four predictions: a good mask, a poor mask of the target, the other object, nothing."""
    columns = split_of([TARGET, POOR, RIVAL, set()])
    # p_m = 1/4, p_x = 2/4, p_mx = 1/4: (1/4 - 1/8) / (1/4 - 1/8).
    assert score("nci", columns) == pytest.approx(1.0)
    assert score("retention", columns) == pytest.approx(0.5)
    columns["s_target"], columns["s_rival"] = np.array([0.0, 0.9, 0.9, 0.9]), np.array([0.9, 0.0, 0.0, 0.0])
    # p_m = 1/4, p_x = 3/4, p_mx = 0: (0 - 3/16) / (1/4 - 3/16).
    assert score("nci", columns) == pytest.approx(-3.0)


def test_an_expression_without_a_rival_is_not_counted() -> None:
    columns = split_of([POOR, WRONG])
    columns["rivals"] = np.array([1, 0])
    assert score("target_right", columns) == 1.0
    columns["rivals"] = np.array([0, 0])
    names = ("target_right", "all_target", "quality_given_target", "identity_error", "nci", "retention")
    assert {name: score(name, columns) for name in names} == dict.fromkeys(names)


def scene(rng: np.random.Generator) -> tuple[list[np.ndarray], list[int], list[bool]]:
    """Masks (H, W) of one image, their categories, and which of them are meant by a sentence."""
    height, width = 24, 32
    masks = []
    for _ in range(rng.integers(1, 6)):
        x, y = rng.integers(0, width - 6), rng.integers(0, height - 6)
        w, h = rng.integers(4, 14), rng.integers(4, 14)
        polygon = [float(v) for v in (x, y, x + w, y + 1, x + w - 1, y + h, x, y + h)]
        codes = coco.frPyObjects([polygon], height, width)
        masks.append(coco.decode(coco.merge(codes)).astype(bool))
    categories = rng.integers(1, 3, len(masks)).tolist()
    meant = rng.random(len(masks)) < 0.7
    meant[0] = True
    return masks, categories, meant.tolist()


def prediction(rng: np.random.Generator, masks: list[np.ndarray]) -> np.ndarray:
    """A part of one mask with a part of another one; now and then nothing."""
    if rng.random() < 0.1:
        return np.zeros_like(masks[0])
    one, other = rng.integers(0, len(masks), 2)
    cut, rest = rng.random(2)
    drawn = rng.random(masks[0].shape)
    return (masks[one] & (drawn < cut)) | (masks[other] & (drawn < rest * rng.random()))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 0.0


def similar(a: np.ndarray, b: np.ndarray) -> float:
    if not a.any():
        return 0.0
    return int((a & b).sum()) / math.sqrt(int(a.sum()) * int(b.sum()))


def selected(p: np.ndarray, candidates: dict[int, np.ndarray], least: float, margin: float) -> int | None:
    """The object that a prediction shows; None if it is not clear."""
    ranked = sorted(((similar(p, mask), number) for number, mask in candidates.items()), reverse=True)
    (first, number), (second, _) = ranked[:2]
    if first >= least and first > second and first - second >= margin:
        return number
    return None


def test_against_a_brute_force_over_masks() -> None:
    """50 scenes, every formula written out over decoded masks, one expression after the other."""
    rng = np.random.default_rng(5)
    names = ("intersection", "union", "area", "image_id", "ann_id", "category_id")
    columns: dict[str, list[int]] = {name: [] for name in names}
    rivals: dict[str, list[int]] = {name: [] for name in ("row", "ann_id", "category_id", "intersection", "area")}
    cases: list[dict[str, Any]] = []
    for image in range(50):
        masks, categories, meant = scene(rng)
        for target, wanted in enumerate(meant):
            for _ in range(rng.integers(1, 4) if wanted else 0):
                p = prediction(rng, masks)
                row = len(cases)
                alike = {n: m for n, m in enumerate(masks) if categories[n] == categories[target] and m.any()}
                cases.append({"image": image, "target": target, "p": p, "masks": masks, "alike": alike, "meant": meant})
                g = masks[target]
                values = ((p & g).sum(), (p | g).sum(), g.sum(), image, target, categories[target])
                for name, value in zip(names, values, strict=True):
                    columns[name].append(int(value))
                for other, mask in enumerate(masks):
                    shared = int((p & mask).sum())
                    if other != target and mask.any() and (shared or categories[other] == categories[target]):
                        for name, value in zip(
                            rivals, (row, other, categories[other], shared, mask.sum()), strict=True
                        ):
                            rivals[name].append(int(value))
    split: Any = {name: np.array(values, np.int64) for name, values in columns.items()}
    long: Rivals = {name: np.array(values, np.int64) for name, values in rivals.items()}
    split |= identity_columns(split, long)

    several = [c for c in cases if len(c["alike"]) > 1]
    assert len(several) > 40
    for least, margin in product(LEAST_TRIED, MARGINS_TRIED):
        right = [selected(c["p"], c["alike"], least, margin) == c["target"] for c in several]
        numerators, denominators = right_terms(split, least, margin)
        assert (numerators.sum(), denominators.sum()) == (sum(right), len(right))
    shown = [selected(c["p"], c["alike"], 0.10, 0.05) for c in several]
    quality = [iou(c["p"], c["masks"][c["target"]]) for c in several]
    right = [s == c["target"] for s, c in zip(shown, several, strict=True)]
    switched = [s is not None and not r for s, r in zip(shown, right, strict=True)]
    expected = {
        "target_right": np.mean(right),
        "target_wrong": np.mean(switched),
        "target_unresolved": np.mean([s is None for s in shown]),
        "quality_given_target": np.mean([q for q, r in zip(quality, right, strict=True) if r]),
        "identity_error": np.mean([q < 0.5 and not r for q, r in zip(quality, right, strict=True)]),
        "switch": np.mean([q < 0.5 and s for q, s in zip(quality, switched, strict=True)]),
        "poor_mask": np.mean([q < 0.5 and r for q, r in zip(quality, right, strict=True)]),
        "retention": np.mean([q >= 0.5 for q, r in zip(quality, right, strict=True) if r]),
    }

    # Every sentence of an object right.
    by_object: dict[tuple[int, int], bool] = {}
    for case, good in zip(several, right, strict=True):
        key = (case["image"], case["target"])
        by_object[key] = by_object.get(key, True) and good
    expected["all_target"] = np.mean(list(by_object.values()))

    # Sentences of another object of the category in the image.
    preferred = []
    for case in cases:
        own = similar(case["p"], case["masks"][case["target"]])
        for other, mask in case["alike"].items():
            if other != case["target"] and case["meant"][other]:
                preferred.append(own > similar(case["p"], mask))
    assert len(preferred) > 30
    expected["donor_preference"] = np.mean(preferred)

    # The mean IoU by the number of rivals.
    for place in range(4):
        strata = [c for c in cases if min(len(c["alike"]) - 1, 3) == place]
        if strata:
            expected[f"miou_rivals_{place}"] = np.mean([iou(c["p"], c["masks"][c["target"]]) for c in strata])
    assert {name: score(name, split) for name in expected} == pytest.approx(expected)


def test_auroc_of_the_peak_counts_all_pairs() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, 200)
    peak = rng.integers(0, 12, 200) + 3 * targets
    columns = {"intersection": np.zeros(200, int), "targets": targets, "peak": peak}
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, b in product(peak[targets > 0].tolist(), peak[targets == 0].tolist())
    ]
    assert score("auroc_peak", columns) == pytest.approx(np.mean(wins))
    assert len(set(peak.tolist())) < 20, "ties"
    assert score("auroc_peak", columns | {"targets": np.ones(200, int)}) is None


def test_a_permutation_of_the_rows_changes_nothing() -> None:
    columns = split_of([POOR, WRONG, UNCLEAR, TARGET])
    shuffled = {name: values[[2, 0, 3, 1]] for name, values in columns.items()}
    for name in ("target_right", "quality_given_target", "nci", "all_target"):
        assert score(name, columns) == score(name, shuffled)


def test_wrong_right_and_unresolved_are_everything() -> None:
    columns = split_of([POOR, WRONG, UNCLEAR, TARGET, set()])
    parts = [score(name, columns) for name in ("target_right", "target_wrong", "target_unresolved")]
    assert parts == pytest.approx([2 / 5, 1 / 5, 2 / 5])
