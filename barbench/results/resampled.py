"""How certain the scores of a table are, and which differences between its rows are more than chance.

Everything comes from the counts of single expressions that are stored beside the records. The images of a split are
resampled with replacement, the same images for all methods and seeds: each resample gives every method's score, hence
an interval for every score, for every difference, and for the share of the gap between tuning nothing and tuning
everything that a method closes. Variances, degrees of freedom and coverage are those of `results.interval`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from barbench.errors import DataError
from barbench.metrics import Floats, ranking_metric
from barbench.results.bootstrap import image_sums
from barbench.results.expressions import Columns, pick_split, same_expressions
from barbench.results.interval import (
    Interval,
    MeanError,
    RunVariance,
    effective_images,
    holm,
    interval_around,
    mean_error,
    resample,
    shared_run_variance,
)
from barbench.results.record import Record
from barbench.results.store import Store

RESAMPLES: Final = 2_000


class ScoredRun(NamedTuple):
    """A record, and one of its evaluation splits by the name that it has there."""

    record: Record
    split: str


Runs = Mapping[int, ScoredRun]
"""Seed -> run of one method."""


class Sample(NamedTuple):
    """Scores on one evaluation split.

    Attributes:
        scores: mean IoU of each method and run as a fraction, (methods, K).
        drawn: the same on resampled images, (R, methods, K).
        images: how many images the split has.
        effective: Kish's number of equally weighted ones among them.
        weight: of this split in an average over several.
    """

    scores: Floats
    drawn: Floats
    images: int
    effective: float
    weight: float = 1.0


class ResampledScores:
    """The samples of a results folder, each read and resampled once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._arrays: dict[str, Mapping[str, NDArray[Any]]] = {}
        self._samples: dict[tuple[tuple[str, str], ...], Sample | None] = {}

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self._store.folder

    def sample(self, methods: Sequence[Runs]) -> Sample | None:
        """The scores of several methods, each with the same seeds, on one split and on resamples of its images. None if
        the counts of some record are missing or damaged, if the methods scored different expressions, or if there is
        only one image."""
        seeds = sorted(methods[0])
        runs: list[ScoredRun] = []
        for by_seed in methods:
            runs += [by_seed[seed] for seed in seeds]
        key = tuple((run.record.id, run.split) for run in runs)
        if key not in self._samples:
            self._samples[key] = self._resample(runs, len(seeds))
        return self._samples[key]

    def counts(self, run: ScoredRun) -> Columns | None:
        """The saved arrays of a run by field, (expressions,) each; None if they are missing or damaged."""
        try:
            return self._columns(run)
        except DataError:
            return None

    def _resample(self, runs: Sequence[ScoredRun], seeds: int) -> Sample | None:
        try:
            tables = [self._columns(run) for run in runs]
        except DataError:
            return None
        if not same_expressions(tables):
            return None
        metric = ranking_metric("targets" in tables[0])
        sums = np.stack([image_sums(table, [metric])[1][:, 0] for table in tables])  # (runs, images, 2)
        images = sums.shape[1]
        if images < 2:
            return None
        # All runs scored the same expressions, so that the denominators are the same.
        numerators = sums[:, :, 0]
        expressions = sums[0, :, 1]
        totals = resample(np.column_stack([numerators.T, expressions]), RESAMPLES, multinomial=True)
        drawn = totals[:, :-1] / totals[:, -1:]
        shape = (len(runs) // seeds, seeds)
        scores = numerators.sum(axis=1) / expressions.sum()
        return Sample(scores.reshape(shape), drawn.reshape(-1, *shape), images, effective_images(expressions))

    def _columns(self, run: ScoredRun) -> Columns:
        record = run.record
        if record.id not in self._arrays:
            self._arrays[record.id] = self._store.expressions(record.cell)
        columns = pick_split(self._arrays[record.id], run.split)
        if not columns:
            raise DataError(f"{record.cell.stem()} lacks the expressions of {run.split}")
        return columns


def score_interval(samples: Sequence[Sample], method: int) -> Interval:
    """The mean score in percent, over seeds and splits, of the method at that position in the samples of all splits."""
    scores, drawn = _of_method(samples, method)
    every = _average(samples, lambda sample: sample.scores)
    shared = shared_run_variance(every, len(every))
    return _mean_error(scores, drawn, samples, shared).interval.times(100)


def indistinguishable(samples: Sequence[Sample], candidates: Sequence[int]) -> set[int]:
    """The best of the methods at these positions, and all whose difference from it is not significant.

    The differences of all pairs are tested, two-sided, corrected for their number by Holm's step-down rule at 5 %. All
    pairs, not only those with the best: which one is the best is seen on the same images.
    """
    if not candidates:
        return set()
    found = differences(samples, combinations(candidates, 2))
    scores = _average(samples, lambda sample: sample.scores)
    best = max(candidates, key=lambda method: float(scores[method].mean()))
    alike = {best}
    for pair, difference in found.items():
        if best in pair and not difference.significant:
            alike.update(pair)
    return alike


class Difference(NamedTuple):
    """The score of one method minus that of another in points, and whether it is more than chance."""

    interval: Interval
    significant: bool


def differences(samples: Sequence[Sample], pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Difference]:
    """First minus second of each pair of methods, tested two-sided, and corrected by Holm's rule at 5 % for the number
    of these pairs; the intervals are of the single differences, without that correction."""
    scores = _average(samples, lambda sample: sample.scores)
    drawn = _average(samples, lambda sample: sample.drawn)
    shared = _shared_by_pairs(scores)
    errors = {}
    p_values = {}
    for a, b in pairs:
        error = _mean_error(scores[a] - scores[b], drawn[:, a] - drawn[:, b], samples, shared)
        errors[a, b] = error
        p_values[a, b] = error.p_value
    # Corrected for the number of pairs that were asked for.
    significant = holm(p_values)
    found = {}
    for pair, error in errors.items():
        found[pair] = Difference(error.interval.times(100), pair in significant)
    return found


def gap_closed(samples: Sequence[Sample], method: int, nothing: int, everything: int) -> Interval | None:
    """How much of the gap between tuning nothing and tuning everything a method closes, as a fraction: (method -
    nothing) / (everything - nothing), which are positions in the samples of all splits. None if the two ends do not
    differ significantly.

    The interval is that of the ratio linearized around its value (the delta method), over images and seeds. With three
    seeds that differ more than images do, it covers the truth in about 90 % of simulated cases.
    """
    low, low_drawn = _of_method(samples, nothing)
    high, high_drawn = _of_method(samples, everything)
    own, own_drawn = _of_method(samples, method)
    every = _average(samples, lambda sample: sample.scores)
    # The gap, (K,), and what is closed of it.
    ends = high - low
    ends_drawn = high_drawn - low_drawn
    gap = _mean_error(ends, ends_drawn, samples, _shared_by_pairs(every)).interval
    if gap.mean <= gap.margin:
        return None
    share = float((own - low).mean() / gap.mean)
    # The ratio's deviations from its value, to first order.
    deviations = ((own - low) - share * ends) / gap.mean
    drawn = ((own_drawn - low_drawn) - share * ends_drawn) / gap.mean
    # Those of every method say how much such deviations vary between runs.
    above = every - low
    shares = above.mean(axis=1, keepdims=True) / gap.mean
    between = [place for place in range(len(every)) if place not in (nothing, everything)]
    alike = (above - shares * ends)[between] / gap.mean
    shared = shared_run_variance(alike, len(alike))
    margin = _mean_error(deviations, drawn, samples, shared).interval.margin
    return interval_around(share, margin)


def _of_method(samples: Sequence[Sample], method: int) -> tuple[Floats, Floats]:
    """Scores (K,) of one method averaged over splits, and the same on resampled images, (R, K)."""
    scores = _average(samples, lambda sample: sample.scores[method])
    drawn = _average(samples, lambda sample: sample.drawn[:, method])
    return scores, drawn


def _average(samples: Sequence[Sample], pick: Callable[[Sample], Floats]) -> Floats:
    """Mean over splits of what `pick` gives, by their weights: the splits' images are drawn independently."""
    weights = [sample.weight for sample in samples]
    return np.asarray(np.average([pick(sample) for sample in samples], axis=0, weights=weights))


def _shared_by_pairs(scores: Floats) -> RunVariance:
    """What all pairs of methods say of a difference's variance between runs; `scores` (methods, K)."""
    first, second = np.triu_indices(len(scores), 1)
    return shared_run_variance(scores[first] - scores[second], len(scores))


def _mean_error(scores: Floats, drawn: Floats, samples: Sequence[Sample], shared: RunVariance) -> MeanError:
    """The mean over runs and its error, over the images of all splits."""
    images = sum(sample.images for sample in samples)
    effective = sum(sample.effective for sample in samples)
    return mean_error(scores, drawn, images, effective, shared)
