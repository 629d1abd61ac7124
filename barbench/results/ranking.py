"""Does the ranking hold? Methods before and after their predictions were scored again, and each pair of them."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from barbench.metrics import Metric, ranking_metric
from barbench.results.bootstrap import image_sums, paired_intervals
from barbench.results.expressions import Columns, of_split
from barbench.results.interval import Interval, mean
from barbench.results.record import Record
from barbench.results.resampled import RESAMPLES
from barbench.results.store import Store


class RankedMethod(NamedTuple):
    """One method on one split, means over seeds in percent.

    Attributes:
        expressions: how many there were; `kept`: how many are left.
        all: on all expressions, as it was.
        same: on those that are left, as it was: with the old masks.
        after: on those that are left, scored again.
        rank_before: by `all`, 1 for the best; `rank_after`: by `after`.
    """

    split: str
    method: str
    expressions: int
    kept: int
    all: float
    same: float
    after: float
    rank_before: int
    rank_after: int

    def readable(self) -> dict[str, str | int]:
        """The row for a terminal."""
        return {
            "split": self.split,
            "method": self.method,
            "expressions": self.expressions,
            "left": self.kept,
            "all": f"{self.all:.1f}",
            "left, as it was": f"{self.same:.1f}",
            "left, again": f"{self.after:.1f}",
            "rank": self.rank_before,
            "rank again": self.rank_after,
        }


class RankedPair(NamedTuple):
    """Two methods on one split: first minus second in points, with 95 % intervals over images and seeds."""

    split: str
    first: str
    second: str
    before: Interval
    after: Interval

    @property
    def verdict(self) -> str:
        """Whether the difference holds."""
        before = self.before.excludes_zero
        after = self.after.excludes_zero
        if not before and not after:
            return "not told apart before"
        if not before:
            return "told apart after"
        if not after:
            return "no longer told apart"
        return "holds" if self.before.mean * self.after.mean > 0 else "reversed"

    def readable(self) -> dict[str, str]:
        """The row for a terminal."""
        return {
            "split": self.split,
            "first": self.first,
            "second": self.second,
            "before": _in_brackets(self.before),
            "after": _in_brackets(self.after),
            "verdict": self.verdict,
        }


def _in_brackets(interval: Interval) -> str:
    return f"{interval.mean:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"


class Ranking(NamedTuple):
    """The methods, and all pairs that have seeds in common."""

    methods: list[RankedMethod]
    pairs: list[RankedPair]


def ranking(before: Store, after: Store) -> Ranking:
    """Compare the records of a folder with those of the same cells that were scored again: methods by split, the best
    before first, and pairs in that order."""
    methods: list[RankedMethod] = []
    pairs: list[RankedPair] = []
    # The records of each method by seed, by what must be the same for a ranking and by split.
    groups: dict[tuple[str, str], dict[str, dict[int, Record]]] = defaultdict(lambda: defaultdict(dict))
    for record in after.all():
        for key in record.split_names():
            by_seed = groups[_conditions(record), key][_method(record)]
            by_seed[record.cell.seed] = record
    for (_, key), by_method in groups.items():
        scored = [_scored(before, after, by_seed, key) for by_seed in by_method.values()]
        ranked, of_pairs = _of_group(key, scored)
        methods += ranked
        pairs += of_pairs
    return Ranking(methods, pairs)


class _Scored(NamedTuple):
    """The tables of one method by seed: all rows, those that are left as they were, and scored again."""

    title: str
    dataset: str
    all: Mapping[int, Columns]
    same: Mapping[int, Columns]
    after: Mapping[int, Columns]


def _scored(before: Store, after: Store, by_seed: Mapping[int, Record], key: str) -> _Scored:
    whole = {}
    same = {}
    again = {}
    for seed, record in sorted(by_seed.items()):
        whole[seed] = of_split(before, record, key)
        again[seed] = of_split(after, record, key)
        # What a correction leaves out is left out before, too, so that masks and sentences are told apart.
        left = np.isin(whole[seed]["sent_id"], again[seed]["sent_id"])
        same[seed] = {name: column[left] for name, column in whole[seed].items()}
    first = next(iter(by_seed.values()))
    return _Scored(first.title, first.dataset_of(key), whole, same, again)


def _of_group(key: str, scored: Sequence[_Scored]) -> tuple[list[RankedMethod], list[RankedPair]]:
    """The methods of one set of conditions on one split."""
    # Ranks before and after.
    metric = ranking_metric("targets" in next(iter(scored[0].all.values())))
    name = key if key.startswith(scored[0].dataset) else f"{scored[0].dataset} {key}"
    # The best first.
    in_order = sorted(scored, key=lambda one: -_mean(metric, one.all))
    afterwards = sorted(scored, key=lambda one: -_mean(metric, one.after))
    rows = []
    for place, one in enumerate(in_order):
        rows.append(
            RankedMethod(
                split=name,
                method=one.title,
                expressions=len(next(iter(one.all.values()))["sent_id"]),
                kept=len(next(iter(one.after.values()))["sent_id"]),
                all=_mean(metric, one.all),
                same=_mean(metric, one.same),
                after=_mean(metric, one.after),
                rank_before=place + 1,
                rank_after=afterwards.index(one) + 1,
            )
        )
    # Differences over the seeds that both have.
    pairs = []
    for first, second in combinations(in_order, 2):
        seeds = sorted(first.all.keys() & second.all.keys())
        if seeds:
            whole = _difference(metric, first.all, second.all, seeds)
            again = _difference(metric, first.after, second.after, seeds)
            pairs.append(RankedPair(name, first.title, second.title, whole, again))
    return rows, pairs


def _mean(metric: Metric, tables: Mapping[int, Columns]) -> float:
    scores = [metric.function(table) for table in tables.values()]
    return metric.factor * mean([score for score in scores if score is not None])


def _difference(
    metric: Metric, first: Mapping[int, Columns], second: Mapping[int, Columns], seeds: Sequence[int]
) -> Interval:
    # (seeds, 2, images, 1, 2): what `paired_intervals` takes.
    sums = []
    for seed in seeds:
        _, of_first = image_sums(first[seed], [metric])
        _, of_second = image_sums(second[seed], [metric])
        sums.append([of_first, of_second])
    (interval,) = paired_intervals(np.array(sums), resamples=RESAMPLES)
    return interval.times(metric.factor)


def _conditions(record: Record) -> str:
    """All of a cell that must be the same for a ranking."""
    fields = record.cell.model_dump(mode="json", exclude={"method", "options", "scaled", "seed", "recipe"})
    return json.dumps(fields | {"recipe": record.cell.shared_recipe()}, sort_keys=True)


def _method(record: Record) -> str:
    own = {"method": record.cell.method, "options": record.cell.options, "own": record.cell.own_recipe()}
    return json.dumps(own, sort_keys=True)
