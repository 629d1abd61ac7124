"""Intervals against laws, against formulas written out, and against the truth in simulated comparisons."""

from functools import cache

import numpy as np
import pytest

from barbench.metrics import Floats, summarize
from barbench.results.bootstrap import image_sums, paired_intervals, scores_of_sums
from tests.results.simulated import COMPARED, HARD, ORDINARY, Population, World, population

COMPARISONS = 1000
population_of = cache(population)


def covered(world: Population, images: int, runs: int = 1, spread: float = 0.0) -> Floats:
    """Share of COMPARISONS simulated comparisons whose interval holds the true difference, a metric each."""
    rng, hits = np.random.default_rng(20), np.zeros(len(COMPARED))
    for number in range(COMPARISONS):
        found = paired_intervals(world.sample(rng, images, runs, spread), resamples=400, seed=number)
        hits += [i.low <= truth <= i.high for i, truth in zip(found, world.truth, strict=True)]
    return hits / COMPARISONS


def test_the_true_difference_is_covered() -> None:
    shares = covered(population_of(ORDINARY), 60)
    assert (shares >= 0.93).all(), shares
    assert (shares <= 0.97).all(), shares


@pytest.mark.slow
@pytest.mark.parametrize("images", [20, 60, 150, 500, 1500])
@pytest.mark.parametrize("world", [ORDINARY, HARD], ids=["ordinary", "hard"])
def test_the_true_difference_is_covered_by_few_images_and_by_many(world: World, images: int) -> None:
    shares = covered(population_of(world), images)
    assert (shares >= 0.93).all(), shares
    assert (shares <= 0.97).all(), shares


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "spread"), [(2, 0.0), (2, 0.25), (3, 0.0), (3, 0.25), (3, 1.0), (5, 0.0), (5, 0.25), (5, 1.0)]
)
def test_the_true_difference_is_covered_over_seeds(runs: int, spread: float) -> None:
    """A luck of the run that is none, a quarter of, or as large as that of the images."""
    shares = covered(population_of(ORDINARY), 100, runs, spread)[:2]  # P@0.5 has no exact truth there
    assert (shares >= 0.93).all(), shares
    assert (shares <= 0.97).all(), shares


@pytest.mark.slow
@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_two_seeds_cover_less_where_runs_differ_much(spread: float) -> None:
    """One degree of freedom is too little to tell how much: known, and said with every comparison of two seeds."""
    shares = covered(population_of(ORDINARY), 100, 2, spread)[:2]
    assert (shares >= 0.87).all(), shares
    assert (shares <= 0.96).all(), shares


def test_a_bootstrap_of_the_seeds_alone_would_miss(rng: np.random.Generator) -> None:
    """Why runs are not drawn with replacement: three runs whose luck is all that varies."""
    luck = rng.normal(size=(2000, 3))
    drawn = luck[:, rng.integers(3, size=(1000, 3))].mean(2)  # (2000, 1000)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
    assert ((low <= 0) & (high >= 0)).mean() < 0.85


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_metrics_are_those_of_the_evaluation(rng: np.random.Generator) -> None:
    union = rng.integers(0, 50, 200)
    intersection = rng.binomial(union, rng.random(200))
    columns = {"image_id": rng.integers(0, 30, 200), "intersection": intersection, "union": union}
    ids, sums = image_sums(columns, COMPARED)
    assert (ids.tolist(), sums.shape) == (list(range(30)), (30, 3, 2))
    expected = summarize(intersection, union)
    assert scores_of_sums(sums.sum(0)).tolist() == pytest.approx([expected.miou, expected.oiou, expected.p50])


def test_the_difference_is_that_of_the_scores_and_swapping_turns_it_round() -> None:
    sums = population_of(ORDINARY).sample(np.random.default_rng(1), 80, runs=3, spread=0.5)
    scores = scores_of_sums(sums.sum(2)).mean(0)
    found, turned = paired_intervals(sums), paired_intervals(sums[:, ::-1])
    assert [i.mean for i in found] == pytest.approx(scores[0] - scores[1])
    assert [(-i.high, -i.low) for i in turned] == [pytest.approx((i.low, i.high)) for i in found]
    assert paired_intervals(sums) == found


def test_one_run_of_equally_large_images_gives_the_paired_t_interval(rng: np.random.Generator) -> None:
    """One expression an image: the bootstrap's standard error is s / sqrt(n) but for its own noise."""
    iou = np.clip(rng.normal([[0.55], [0.5]], 0.2, (2, 400)), 0, 1)
    union = np.full(400, 10_000)
    methods = [{"image_id": np.arange(400), "intersection": np.round(i * union), "union": union} for i in iou]
    sums = np.stack([image_sums(columns, COMPARED)[1] for columns in methods])[None]
    found = paired_intervals(sums, resamples=20_000)[0]
    differences = sums[0, 0, :, 0, 0] - sums[0, 1, :, 0, 0]
    half = 1.9659 * differences.std(ddof=1) / 20  # t with 399 degrees of freedom, from a table
    assert found.mean == pytest.approx(differences.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.02)


def test_images_all_alike_leave_the_paired_t_interval_of_the_runs() -> None:
    """Then nothing but the runs varies: mean +- 4.3027 s / sqrt(3)."""
    scores = np.array([[0.50, 0.40], [0.54, 0.41], [0.53, 0.45]])
    one = np.ones_like(scores)
    image = np.stack(
        [np.stack(terms, -1) for terms in ((scores, one), (100 * scores, 100 * one), (scores > 0.5, one))], -2
    )
    found = paired_intervals(np.repeat(image[:, :, None], 50, axis=2), resamples=200)
    differences = scores[:, 0] - scores[:, 1]
    half = 4.302653 * differences.std(ddof=1) / np.sqrt(3)
    for interval in found[:2]:
        assert interval.mean == pytest.approx(differences.mean())
        assert (interval.low, interval.high) == pytest.approx((differences.mean() - half, differences.mean() + half))


def test_runs_that_differ_no_more_than_images_explain_add_nothing(rng: np.random.Generator) -> None:
    """The same run twice is no second run."""
    sums = population_of(ORDINARY).sample(rng, 100)
    once, twice = paired_intervals(sums), paired_intervals(np.concatenate([sums, sums]))
    assert [tuple(i) for i in twice] == [pytest.approx(tuple(i)) for i in once]


def test_equal_methods_are_not_told_apart() -> None:
    sums = population_of(ORDINARY).sample(np.random.default_rng(3), 50)[:, [0, 0]]
    assert [(*i, i.excludes_zero) for i in paired_intervals(sums, resamples=100)] == [(0, 0, 0, False)] * 3


def test_a_difference_everywhere_is_shown() -> None:
    sums = population_of(ORDINARY).sample(np.random.default_rng(3), 200)
    worse = sums.copy()
    worse[..., :2, 0] *= 0.8  # the numerators of mIoU and oIoU
    found = paired_intervals(np.concatenate([sums[:, :1], worse[:, :1]], axis=1))
    assert [i.excludes_zero for i in found[:2]] == [True, True]


def test_one_image_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least two"):
        paired_intervals(np.ones((1, 2, 1, 3, 2)))
