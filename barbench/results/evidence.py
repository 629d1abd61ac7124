"""How certain the scores of a table are, and which differences between its rows are more than chance.

Everything comes from the counts of single expressions that are stored beside the records. The images of a split are
resampled with replacement, the same images for all methods and seeds: each resample gives every method's score, hence
an interval for every score, for every difference, and for the share of the gap between tuning nothing and tuning
everything that a method closes. Variances, degrees of freedom and coverage are those of `results.bootstrap`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from barbench.errors import DataError
from barbench.metrics import Floats
from barbench.results.bootstrap import FIELDS, Spread, effective_images, image_sums, spread
from barbench.results.expressions import Columns, pick_split
from barbench.results.record import Record
from barbench.results.store import Store
from barbench.student import tail_probability

RESAMPLES: Final = 2_000
ALPHA: Final = 0.05


class Run(NamedTuple):
    """A record, and one of its evaluation splits by the name that it has there."""

    record: Record
    split: str


Runs = Mapping[int, Run]
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


class Measured(NamedTuple):
    """A score in percent and half the width of its 95 % interval; `runs`: of how many seeds."""

    score: float
    margin: float
    runs: int


class GapClosed(NamedTuple):
    """(method - nothing) / (everything - nothing), and half the width of its 95 % interval; as fractions."""

    share: float
    margin: float


class Evidence:
    """The samples of a results folder, each read and resampled once.

    Args:
        store: where the records and the arrays beside them are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._arrays: dict[str, Mapping[str, NDArray[Any]]] = {}
        self._samples: dict[tuple[tuple[str, str], ...], Sample | None] = {}

    def sample(self, methods: Sequence[Runs]) -> Sample | None:
        """The scores of several methods on one split, and on resamples of its images.

        Args:
            methods: each with the same seeds.

        Returns:
            None if the counts of some record are missing or damaged, if the methods scored different expressions, or if
                there is only one image.
        """
        runs = [by_seed[seed] for by_seed in methods for seed in sorted(methods[0])]
        key = tuple((run.record.id, run.split) for run in runs)
        if key not in self._samples:
            self._samples[key] = self._resample(runs, len(methods[0]))
        return self._samples[key]

    def _resample(self, runs: Sequence[Run], seeds: int) -> Sample | None:
        try:
            tables = [self._columns(run) for run in runs]
        except DataError:
            return None
        same = ("sent_id", "image_id", "ann_id")
        if not all(np.array_equal(table[c], tables[0][c]) for table in tables for c in same):
            return None
        sums = np.stack(
            [image_sums(t["image_id"], t["intersection"], t["union"], t.get("targets"))[1] for t in tables]
        )  # (runs, images, FIELDS)
        images = sums.shape[1]
        if images < 2:
            return None
        expressions, iou = sums[0, :, FIELDS.index("expressions")], sums[:, :, FIELDS.index("iou")]
        counts = _draws(images)
        drawn = (counts @ iou.T) / (counts @ expressions)[:, None]
        shape = (len(runs) // seeds, seeds)
        return Sample(
            (iou.sum(1) / expressions.sum()).reshape(shape),
            drawn.reshape(-1, *shape),
            images,
            effective_images(expressions),
        )

    def _columns(self, run: Run) -> Columns:
        record = run.record
        if record.id not in self._arrays:
            self._arrays[record.id] = self._store.expressions(record.cell)
        columns = pick_split(self._arrays[record.id], run.split)
        if not columns:
            raise DataError(f"{record.cell.stem()} lacks the expressions of {run.split}")
        return columns


def measured(samples: Sequence[Sample], method: int) -> Measured:
    """The mean score of one method over seeds and splits.

    Args:
        samples: one per split.
        method: position of the method in the samples.

    Returns:
        Percent, with the margin.
    """
    scores, drawn = (_mean(samples, lambda s: s.scores[method]), _mean(samples, lambda s: s.drawn[:, method]))
    found = _spread(scores, drawn, samples)
    return Measured(100 * found.mean, 100 * found.margin, len(scores))


def indistinguishable(samples: Sequence[Sample], candidates: Sequence[int]) -> set[int]:
    """The best method, and all whose difference from it is not significant.

    The differences of all pairs are tested, two-sided, corrected for their number by Holm's step-down rule at 5 %. All
    pairs, not only those with the best: which one is the best is seen on the same images.

    Args:
        samples: one per split.
        candidates: positions of the methods to compare.

    Returns:
        Positions; empty without candidates.
    """
    if not candidates:
        return set()
    scores, drawn = _mean(samples, lambda s: s.scores), _mean(samples, lambda s: s.drawn)
    chance = {
        (a, b): _chance(scores[a] - scores[b], drawn[:, a] - drawn[:, b], samples)
        for a, b in combinations(candidates, 2)
    }
    told_apart: set[frozenset[int]] = set()
    for left, pair in zip(range(len(chance), 0, -1), sorted(chance, key=lambda pair: chance[pair]), strict=True):
        if chance[pair] * left >= ALPHA:
            break
        told_apart.add(frozenset(pair))
    best = max(candidates, key=lambda m: float(scores[m].mean()))
    return {m for m in candidates if frozenset((best, m)) not in told_apart}


def _chance(differences: Floats, drawn: Floats, samples: Sequence[Sample]) -> float:
    """Probability of a difference at least as large if there is none."""
    found = _spread(differences, drawn, samples)
    if not found.error:
        return 0.0 if found.mean else 1.0
    return tail_probability(found.mean / found.error, found.freedom)


def gap_closed(samples: Sequence[Sample], method: int, nothing: int, everything: int) -> GapClosed | None:
    """How much of the gap between tuning nothing and tuning everything a method closes.

    The interval is that of the ratio linearised around its value (the delta method), over images and seeds. With three
    seeds that differ more than images do, it covers the truth in about 90 % of simulated cases.

    Args:
        samples: one per split.
        method: position of the method.
        nothing: position of the method that tunes nothing.
        everything: position of the method that tunes everything.

    Returns:
        Fractions; None if the two ends do not differ significantly.
    """

    def of(which: int) -> tuple[Floats, Floats]:
        return _mean(samples, lambda s: s.scores[which]), _mean(samples, lambda s: s.drawn[:, which])

    (low, low_drawn), (high, high_drawn), (own, own_drawn) = of(nothing), of(everything), of(method)
    gap = _spread(high - low, high_drawn - low_drawn, samples)
    if gap.mean <= gap.margin:
        return None
    share = float((own - low).mean() / gap.mean)
    found = _spread(
        ((own - low) - share * (high - low)) / gap.mean,
        ((own_drawn - low_drawn) - share * (high_drawn - low_drawn)) / gap.mean,
        samples,
    )
    return GapClosed(share, found.margin)


def _draws(images: int) -> Floats:
    """How often each image is drawn, (RESAMPLES, images); the same for all methods, seeds and calls."""
    drawn = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    return drawn.astype(np.float64)


def _mean(samples: Sequence[Sample], pick: Callable[[Sample], Floats]) -> Floats:
    """Mean over splits of what `pick` gives, by their weights: the splits' images are drawn independently."""
    return np.asarray(
        np.average([pick(sample) for sample in samples], axis=0, weights=[sample.weight for sample in samples])
    )


def _spread(scores: Floats, drawn: Floats, samples: Sequence[Sample]) -> Spread:
    images = sum(sample.images for sample in samples)
    return spread(scores, drawn, images, sum(sample.effective for sample in samples))
