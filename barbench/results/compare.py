"""Compares two methods on each evaluation split, with intervals: `barbench compare barleria etris`."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from barbench.errors import UsageError
from barbench.metrics import METRICS, Floats, Metric
from barbench.results.bootstrap import image_sums, paired_intervals, scores_of_sums
from barbench.results.expressions import Columns, aligned
from barbench.results.interval import Interval
from barbench.results.record import Record
from barbench.results.select import CHOOSABLE, begins_with, differing, runs
from barbench.results.store import Store
from barbench.spec.text import split_list

RESAMPLES: Final = 10_000
POWER_80: Final = 0.8416  # standard deviations that the interval must lie beside zero for a chance of 80 %


class Wanted(NamedTuple):
    """Which cells are meant, as on the command line: None for any, `a,b` for one value of each method."""

    dataset: str | None = None
    backbone: str | None = None
    weights: str | None = None
    recipe: str | None = None
    image_size: str | None = None
    neck: str | None = None
    head: str | None = None


class ComparisonRow(NamedTuple):
    """One evaluation split and metric.

    Attributes:
        split: by its name in the records.
        metric: mIoU, oIoU, P@0.5, All@0.7 or the worst sentence.
        first: score of the first method in percent, the mean over the runs.
        second: score of the second method in percent, the mean over the runs.
        difference: first minus second, in percentage points.
        low: lower end of the 95 % interval, in percentage points.
        high: upper end of the 95 % interval, in percentage points.
        verdict: which is better, as in "SNF is higher", or that no difference is shown.
    """

    split: str
    metric: str
    images: int
    expressions: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    verdict: str

    @property
    def smallest(self) -> float:
        """Smallest true difference, in percentage points, that this number of images and seeds would show with a
        probability of 80 %: 1 + 0.84 / 1.96 times half the width of the interval."""
        return (self.high - self.low) / 2 * (1 + POWER_80 / 1.96)

    def readable(self, titles: tuple[str, str]) -> dict[str, str | int]:
        """The row for a terminal.

        Args:
            titles: of the two methods.

        Returns:
            Column name to value: one decimal, the interval in one column.
        """
        return {
            "split": self.split,
            "metric": self.metric,
            titles[0]: f"{self.first:.1f}",
            titles[1]: f"{self.second:.1f}",
            "difference": f"{self.difference:+.1f}",
            "95 % interval": f"[{self.low:+.1f}, {self.high:+.1f}]",
            "verdict": self.verdict,
            "smallest shown": f"{self.smallest:.1f}",
            "images": self.images,
            "expressions": self.expressions,
        }


class Comparison(NamedTuple):
    """Two methods compared.

    Attributes:
        titles: of the two methods.
        rows: one per split and metric.
        notes: sentences about what the intervals cover and what to keep in mind.
    """

    titles: tuple[str, str]
    rows: list[ComparisonRow]
    notes: list[str]


def compare(store: Store, first: str, second: str, wanted: Wanted, resamples: int = RESAMPLES) -> Comparison:
    """Compare two methods: first minus second, in each split and metric.

    Args:
        store: the results folder.
        first: method, title, id, or start of a file name.
        second: the same.
        wanted: which cells of the two are meant.
        resamples: of the bootstrap.

    Returns:
        Rows and notes.

    Raises:
        UnknownName: for a name that no finished cell has.
        UsageError: if a name is not clear, or if the two cannot be compared: other data, other expressions, or other
            settings that `wanted` does not name.
        DataError: if the arrays beside a record are missing or damaged.
    """
    # The runs of each method: records that differ in their seed alone.
    records = store.all()
    wanted_of_first, wanted_of_second = _sides(wanted)
    first_runs = runs(records, first, wanted_of_first)
    second_runs = runs(records, second, wanted_of_second)
    left = first_runs[0]
    right = second_runs[0]
    if left.id == right.id:
        raise UsageError(f"{first!r} and {second!r} are the same cell, {left.cell.stem()}")
    by_id = _is_id(first, left) and _is_id(second, right)
    notes = _differences(left, right, wanted, by_id)
    # Runs in pairs, scored on the same expressions.
    pairs, seeds = _paired(first_runs, second_runs)
    titles = _titles(left, right)
    rows: list[ComparisonRow] = []
    for split in left.split_names():
        tables = [aligned(store, pair, split) for pair in pairs]
        rows += rows_of(tables, split, titles, resamples)
    return Comparison(titles, rows, [*notes, seeds, *reading(len(pairs), resamples)])


def _sides(wanted: Wanted) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """What is wanted of the first method, and of the second."""
    of_first: dict[str, str | None] = {}
    of_second: dict[str, str | None] = {}
    for key, value in wanted._asdict().items():
        parts = split_list(value) if value else []
        if len(parts) > 2:
            raise UsageError(f"--{key.replace('_', '-')} takes one value, or one of each method: a,b, not {value!r}")
        # A single value is meant for both.
        of_first[key] = parts[0] if parts else None
        of_second[key] = parts[-1] if parts else None
    return of_first, of_second


def _is_id(name: str, record: Record) -> bool:
    return name != record.cell.method and begins_with(record, name)


def _differences(left: Record, right: Record, wanted: Wanted, by_id: bool) -> list[str]:
    """Notes on differences other than the method; UsageError for data that differ, and for differences that were not
    asked for."""
    apart = differing([left, right])
    shown = [f"{name} {values[0]} and {values[1]}" for name, values in apart.items()]
    # Other data are no comparison, and a part of a split is none with the whole of it.
    if any(name in ("dataset", "subset.evaluate") or name.startswith("data.") for name in apart):
        raise UsageError(f"{left.cell.stem()} and {right.cell.stem()} cannot be compared: {'; '.join(shown)}")
    named = {key for key in CHOOSABLE if "," in (getattr(wanted, key) or "")}
    if not by_id and {name.split(".")[0] for name in apart} - named:
        raise UsageError(
            f"the two differ in more than the method: {'; '.join(shown)}. If that is meant, name both values, as in "
            "--recipe FIRST,SECOND (--backbone, --weights, --image-size, --neck and --head likewise), or both cells by "
            "their ids"
        )
    notes = [f"not the method alone differs: {text}" for text in shown]
    if left.cell.data.kind == "shapes":
        notes.append("synthetic shapes: nothing is said about the paper's data")
    return notes


def _paired(left: Sequence[Record], right: Sequence[Record]) -> tuple[list[tuple[Record, Record]], str]:
    """Pairs of runs: by seed if both have it, else in order (runs of different seeds are independent)."""
    of_left = {record.cell.seed: record for record in left}
    of_right = {record.cell.seed: record for record in right}
    shared = sorted(of_left.keys() & of_right.keys())
    if shared:
        note = f"seeds, pair by pair: {_numbers(shared)}"
        dropped = of_left.keys() ^ of_right.keys()
        if dropped:
            note += f"; left out, since one of the two lacks them: {_numbers(dropped)}"
        return [(of_left[seed], of_right[seed]) for seed in shared], note
    pairs = list(zip(left, right, strict=False))
    left_seeds = _numbers(first.cell.seed for first, _ in pairs)
    right_seeds = _numbers(second.cell.seed for _, second in pairs)
    return pairs, f"no seed in common: runs with seeds {left_seeds} against runs with seeds {right_seeds}"


def _numbers(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


def _titles(left: Record, right: Record) -> tuple[str, str]:
    """The methods' titles, with the cells' ids where they are equal."""
    if left.title != right.title:
        return left.title, right.title
    return f"{left.title} ({left.id})", f"{right.title} ({right.id})"


def rows_of(
    tables: Sequence[Sequence[Columns]], split: str, titles: tuple[str, str], resamples: int
) -> list[ComparisonRow]:
    """One row per metric that is compared on a split, from the two tables of each pair of runs, whose rows are the same
    expressions."""
    columns = tables[0][0]
    # Those that are defined here: All@t is not where every object has a single sentence.
    metrics = [
        metric for metric in METRICS.values() if metric.compares(columns) and metric.function(columns) is not None
    ]
    # (runs, 2, images, metrics, 2), from which scores and intervals follow.
    sums = np.stack([_pair_sums(pair, metrics) for pair in tables])
    scores = scores_of_sums(sums.sum(axis=2)).mean(axis=0)  # (2, metrics), means over the runs
    intervals = paired_intervals(sums, resamples=resamples)
    rows = []
    for number, metric in enumerate(metrics):
        interval = intervals[number].times(metric.factor)
        first, second = (float(metric.factor * score) for score in scores[:, number])
        row = ComparisonRow(
            split=split,
            metric=metric.label,
            images=sums.shape[2],
            expressions=len(columns["image_id"]),
            first=first,
            second=second,
            difference=interval.mean,
            low=interval.low,
            high=interval.high,
            verdict=_verdict(interval, titles, metric),
        )
        rows.append(row)
    return rows


def _pair_sums(tables: Sequence[Columns], metrics: Sequence[Metric]) -> Floats:
    """Sums over images of one pair of runs, (2, images, metrics, 2)."""
    return np.stack([image_sums(table, metrics)[1] for table in tables])


def _verdict(interval: Interval, titles: tuple[str, str], metric: Metric) -> str:
    """Which of the two is better, and by which end of the metric."""
    if not interval.excludes_zero:
        return "no difference shown"
    higher, lower = titles if interval.mean > 0 else titles[::-1]
    return f"{higher} is higher" if metric.better == "high" else f"{lower} is lower"


def reading(pairs: int, resamples: int) -> list[str]:
    """How to read the intervals."""
    if pairs == 1:
        covers = "covers other images, not other training runs: with one seed, these two trained models are compared"
    else:
        covers = f"covers other images and other training runs, of which there are {pairs}"
    if pairs == 2:
        covers += "; of two it covers 90 to 94 % where runs differ as much as images do, or more"
    return [
        f"95 % interval: paired bootstrap over images ({resamples:,} resamples); it {covers}",
        "verdict: it names the better of the two, which for errors is the lower one",
        "smallest shown: a true difference of so many points would have been shown with a chance of 80 %",
        "intervals are not corrected for their number: of twenty, one is expected to miss",
    ]
