"""Intervals, Holm's rule and the gap against simulated truth, formulas written out, and what a reader expects."""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from barbench.results.resampled import (
    RESAMPLES,
    ResampledScores,
    Sample,
    ScoredRun,
    differences,
    gap_closed,
    indistinguishable,
    score_interval,
)
from barbench.results.store import Store
from tests.results.conftest import Put

IMAGES = 200


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def sample(rng: np.random.Generator, means: Sequence[float], runs: int = 3, luck: float = 0.0) -> Sample:
    """Methods of these true scores; `luck` is the standard deviation between runs."""
    shape = (len(means), runs)
    values = rng.normal(0, 0.2, IMAGES) + np.array(means)[:, None, None] + rng.normal(0, luck, shape)[..., None]
    values = values + rng.normal(0, 0.05, (*shape, IMAGES))
    counts = rng.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), size=RESAMPLES)
    drawn = np.einsum("ri,mki->rmk", counts, values) / IMAGES
    return Sample(values.mean(-1), drawn, IMAGES, IMAGES)


def test_one_runs_interval_is_that_of_a_mean_of_images(rng: np.random.Generator) -> None:
    one = sample(rng, [0.5], runs=1)
    found = score_interval([one], 0)
    error = one.drawn[:, 0, 0].std() * math.sqrt(IMAGES / (IMAGES - 1))
    assert found.mean == pytest.approx(100 * one.scores[0, 0])
    assert found.margin == pytest.approx(100 * 1.972 * error, rel=0.01)  # t of 199 degrees of freedom


def test_two_splits_together_are_surer_than_one(rng: np.random.Generator) -> None:
    first, second = sample(rng, [0.5], 1), sample(rng, [0.7], 1)
    both = score_interval([first, second], 0)
    alone = [score_interval([s], 0) for s in (first, second)]
    assert both.mean == pytest.approx(sum(a.mean for a in alone) / 2)
    assert both.margin == pytest.approx(math.hypot(*(a.margin for a in alone)) / 2, rel=0.1)


def test_what_is_clearly_worse_is_not_marked(rng: np.random.Generator) -> None:
    assert indistinguishable([sample(rng, [0.5, 0.3, 0.49])], [0, 1]) == {0}
    assert indistinguishable([sample(rng, [0.5, 0.3])], [1]) == {1}
    assert indistinguishable([sample(rng, [0.5, 0.3])], []) == set()


def test_a_difference_smaller_than_the_luck_of_runs_is_not_told_apart(rng: np.random.Generator) -> None:
    assert indistinguishable([sample(rng, [0.50, 0.49], luck=0.05)], [0, 1]) == {0, 1}


@pytest.mark.parametrize("methods", [2, 6])
def test_equal_methods_are_told_apart_in_at_most_five_of_a_hundred_tables(methods: int) -> None:
    """Holm keeps the chance of any false mark over a whole column; comparing six with the best alone gave 13 %."""
    wrong = sum(
        len(indistinguishable([sample(np.random.default_rng(n), [0.5] * methods, runs=1)], range(methods))) < methods
        for n in range(200)
    )
    assert wrong <= 18  # 10 are allowed on average, and this is two and a half standard deviations above


def test_the_gap(rng: np.random.Generator) -> None:
    found = gap_closed([sample(rng, [0.3, 0.5, 0.4])], 2, nothing=0, everything=1)
    assert found
    assert found.mean == pytest.approx(0.5, abs=0.1)
    assert 0 < found.margin < 0.2
    assert gap_closed([sample(rng, [0.4, 0.4, 0.4], luck=0.02)], 2, nothing=0, everything=1) is None
    assert gap_closed([sample(rng, [0.5, 0.3, 0.4])], 2, nothing=0, everything=1) is None, "the ends are the wrong way"


def test_the_gaps_interval_covers_the_truth() -> None:
    hits = 0
    for n in range(150):
        found = gap_closed([sample(np.random.default_rng(n), [0.3, 0.5, 0.4], runs=3, luck=0.01)], 2, 0, 1)
        assert found
        hits += abs(found.mean - 0.5) <= found.margin
    assert hits >= 130


def test_samples_come_from_the_arrays_beside_the_records(store: Store, put: Put) -> None:
    methods = [
        {seed: ScoredRun(put(name, better=b, seed=seed), "val") for seed in (0, 1)}
        for name, b in (("etris", 0.2), ("snf", 0.0))
    ]
    resampled = ResampledScores(store)
    found = resampled.sample(methods)
    assert found is not None
    columns = store.expressions(methods[0][1].record.cell)
    ratio = columns["val/intersection"] / columns["val/union"]
    assert found.scores[0, 1] == pytest.approx(ratio.mean())
    assert found.drawn.shape == (RESAMPLES, 2, 2)
    assert resampled.sample(methods) is found
    store.path(methods[0][0].record.cell).with_suffix(".npz").unlink()
    assert ResampledScores(store).sample(methods) is None


def test_differences_of_pairs_are_tested_together_and_name_the_best(rng: np.random.Generator) -> None:
    found = sample(rng, [0.50, 0.49, 0.30], luck=0.02)
    pairs = list(combinations(range(3), 2))
    every = differences([found], pairs)
    for (a, b), one in every.items():
        assert one.interval.mean == pytest.approx(100 * float((found.scores[a] - found.scores[b]).mean()))
        alone = differences([found], [(a, b)])[a, b]
        assert alone.interval == one.interval
        assert alone.significant == alone.interval.excludes_zero  # one test needs no correction
        assert alone.significant or not one.significant
    best = max(range(3), key=lambda method: found.scores[method].mean())
    alike = {best} | {m for pair in pairs for m in pair if best in pair and not every[pair].significant}
    assert indistinguishable([found], range(3)) == alike
    assert not differences([found], [])
