"""`barbench check --data ROOT`: methods trained anew on a part of a user's data, compared with a stored baseline.

Same seed, same platform and same code give the same counts to the last pixel, so that entries that are equal image by
image have passed. Others are judged by how much seeds differ: the difference of the means of k new runs and of n stored
ones must be at most t s sqrt(1/n + 1/k), where s is pooled over all entries of the baseline and one check in a hundred
fails by chance, however many entries it has. That other images would give other scores plays no role, because the
images are the same; it is printed beside each score.
"""

from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import mean
from typing import Final, NamedTuple

import numpy as np
from pydantic import JsonValue
from rich.console import Console

from barbench.benchmarks.execution.host.environment import device_name
from barbench.benchmarks.execution.launch import Launch, prepare, run_cells
from barbench.benchmarks.job import Job
from barbench.datasets.overlap import read_outlines
from barbench.datasets.subset import image_counts
from barbench.errors import BarbenchError, UsageError
from barbench.metrics import METRICS
from barbench.regression import baseline as files
from barbench.regression.baseline import OwnScores
from barbench.regression.check import Gate, Outcome
from barbench.regression.compare import compare_section
from barbench.regression.rules import ERROR, Spread, Values, Verdict, spread
from barbench.results.bootstrap import image_sums
from barbench.results.clustered import clustered_ratio
from barbench.results.expressions import of_split
from barbench.results.record import Record
from barbench.results.store import Store
from barbench.spec.run import Run
from barbench.spec.text import listed, plural
from barbench.values import flatten

COMMAND: Final = "barbench check --data"
UPDATE: Final = "barbench check --data ROOT … --update"
LEAST_FREEDOM: Final = 4
"""Degrees of freedom of the spread of seeds: with 2, only a difference of 11.5 standard deviations would be seen."""
_FIXED: Final = ("data", "dataset", "subset", "context_length", "exif")
"""Fields of a cell without which scores are those of other expressions, or of another training set."""


class Check(NamedTuple):
    """What is measured; counts of one platform are equal to the last pixel."""

    asked: Run
    launch: Launch
    platform: str

    @property
    def jobs(self) -> list[Job]:
        """The cells."""
        return self.launch.jobs


def prepare_check(asked: Run, jobs: Sequence[Job]) -> Check:
    """Resolve where the cells run, and see that there are as many images as were asked for; UsageError where there are
    fewer, or for a device that is not there."""
    _require_images(asked, jobs)
    launch = prepare(jobs)
    place = launch.place
    device = "cpu" if place.device == "cpu" else device_name(place.device)
    return Check(asked, launch, f"{files.platform_key()}, {device}, {plural(place.threads, 'thread')}")


def check_own(check: Check, path: Path, allow_new: bool, console: Console) -> Outcome:
    """Run the cells, and compare their scores with those of a baseline: one finding per method and split.

    Args:
        allow_new: whether methods that the baseline lacks are no failure.

    Raises:
        UsageError: where the two cannot be compared: no baseline for this platform, other data, another subset, or too
            few runs to tell what seeds do.
        BarbenchError: if a cell failed.
    """
    accepted = files.load(path, UPDATE)
    stored = accepted.own.get(check.platform)
    if stored is None:
        others = "; ".join(accepted.own) or "none"
        raise UsageError(
            f"{path} has no scores for {check.platform}; it has: {others}. Scores of different platforms differ by "
            f"more than chance: on this one, {UPDATE} adds them"
        )
    _require_same_data(check.jobs, stored, path)
    every = spread(stored.scores)
    _require_spread(every.freedom)

    # Only what was asked for is compared, but the spread of seeds is that of all entries.
    measured = _measure(check, console)
    for name, digest in measured.images.items():
        if stored.images.get(name, digest) != digest:
            raise UsageError(f"{name}: these are other images than those of {path}; {UPDATE} accepts them")
    asked = measured.cells.keys()
    old: Values = {name: runs for name, runs in stored.scores.items() if _cell_of(name) in asked}
    rule = partial(_judge, stored, measured, every)
    missing = ""  # there are old values
    findings = compare_section("own data", rule, old, dict(measured.scores), missing, allow_new)
    gate = Gate({}, path, COMMAND, UPDATE)
    remarks = [*_described(check, stored, every), *_changed_cells(stored, measured)]
    left_out = [name for name in stored.cells if name not in asked]
    if left_out:
        remarks.append(f"Not asked for, though in the baseline: {', '.join(left_out)}.")
    return Outcome(gate, findings, accepted.made_with, files.packages(), remarks=remarks, shows_all=True)


def update_own(check: Check, path: Path, console: Console) -> Path:
    """Run the cells, and store their scores as the baseline of this platform, which need not exist; UsageError for too
    few runs to tell what seeds do, BarbenchError if a cell failed."""
    accepted = files.load(path, UPDATE) if path.exists() else files.Baseline()
    seeds = len(check.asked.seeds)
    entries = sum(len(job.dataset.evaluation_splits) for job in check.jobs) // seeds
    _require_spread(entries * (seeds - 1))
    files.save(accepted.accept_own(check.platform, _measure(check, console)), path)
    return path


def _require_images(asked: Run, jobs: Sequence[Job]) -> None:
    """UsageError where a data set has fewer images than a limit: the check would be one of other images."""
    least_train = asked.limit_train or 0
    least = asked.limit or 0
    datasets = {job.dataset.name: job for job in jobs}
    for name, job in datasets.items():
        outlines = read_outlines(job.files.data, job.dataset.partitions)
        counts = image_counts(job.dataset, outlines)
        if counts.train < least_train:
            raise UsageError(f"--limit-train {least_train}: {name} has {plural(counts.train, 'training image')}")
        for split, count in counts.evaluate.items():
            if count < least:
                raise UsageError(f"--limit {least}: {name} has {plural(count, 'image')} in {split}")


def _require_same_data(jobs: Sequence[Job], stored: OwnScores, path: Path) -> None:
    # A method that the baseline lacks is a finding of its own.
    for job in jobs:
        before = stored.cells.get(_cell_name(job))
        if before is None:
            continue
        now = _fields(job)
        for name in dict.fromkeys((*before, *now)):
            if name.partition(".")[0] in _FIXED and before.get(name) != now.get(name):
                raise UsageError(
                    f"{_cell_name(job)} cannot be compared with {path}: {name} was {before.get(name)} and is "
                    f"{now.get(name)}; {UPDATE} makes a baseline of what is asked for now"
                )


def _require_spread(freedom: int) -> None:
    if freedom < LEAST_FREEDOM:
        raise UsageError(
            "the baseline is too small to tell a change from another seed: its seeds, methods and splits give "
            f"{freedom} degrees of freedom, and {LEAST_FREEDOM} are needed; give --update more --seeds or --methods"
        )


def _measure(check: Check, console: Console) -> OwnScores:
    """Run every cell, and keep what a later check needs of it."""
    # Scores of some cells alone would be another check.
    records = run_cells(check.launch, console)
    for record in records:
        if record.status != "done":
            raise BarbenchError(f"{record.cell.stem()} {record.status}: {record.reason}")
    if len(records) < len(check.jobs):
        raise BarbenchError(f"{len(check.jobs) - len(records)} of {plural(len(check.jobs), 'cell')} were stopped")
    store = Store(check.launch.place.results)
    found = OwnScores(seeds=list(check.asked.seeds), cells={}, images={}, expressions={}, scores={}, sums={})
    by_cell = {job.cell.id(): job for job in check.jobs}
    # In the order of the seeds, which is that of an entry's scores.
    for record in sorted(records, key=lambda record: found.seeds.index(record.cell.seed)):
        job = by_cell[record.id]
        cell = _cell_name(job)
        found.cells[cell] = _fields(job)
        for split, result in record.splits.items():
            name = f"{cell} {split}"
            of_images = _per_image(store, record, split)
            # The ids themselves would make the file large.
            ids = ",".join(map(str, of_images.ids))
            found.images[name] = sha256(ids.encode()).hexdigest()
            found.expressions[name] = of_images.expressions
            found.scores.setdefault(name, []).append(result.scores.mean)
            found.sums.setdefault(name, []).append(of_images.sums)
    return found


class _PerImage(NamedTuple):
    """Of each image of a split its id, the sum of its expressions' IoUs, and their number, in the order of the ids."""

    ids: list[int]
    sums: list[float]
    expressions: list[int]


def _per_image(store: Store, record: Record, split: str) -> _PerImage:
    columns = of_split(store, record, split)
    metric = METRICS[record.splits[split].scores.mean_name]
    ids, sums = image_sums(columns, [metric])
    totals = sums[:, 0, 0]
    counts = sums[:, 0, 1].astype(int)
    return _PerImage(ids.tolist(), totals.tolist(), counts.tolist())


def _judge(stored: OwnScores, measured: OwnScores, every: Spread, before: Values, now: Values) -> dict[str, Verdict]:
    """A verdict on each entry that both sides have: equal image by image, or within what seeds explain."""
    found = {}
    for name in now:
        old = mean(stored.scores[name])
        new = mean(measured.scores[name])
        runs = len(measured.seeds)
        # Of seeds that both have, every image must have the same sum.
        pairs = _same_seeds(stored, measured, name)
        if len(pairs) == runs and all(a == b for a, b in pairs):
            ok = True
            old = new  # of these seeds
            text = "equal, image by image"
        else:
            # Else the difference of the means must be within what seeds do.
            difference = 100 * (new - old)
            allowed = 100 * every.allowed(len(stored.seeds), runs, ERROR / len(now))
            ok = abs(difference) <= allowed
            text = f"{difference:+.2f}, allowed ±{allowed:.2f}"
            if not ok:
                text = f"{'better' if difference > 0 else 'worse'}: {text}"
            if pairs:
                text += f"; {_count_moved(pairs)} of {len(measured.expressions[name])} images differ"
        text += _sampling(measured, name)
        found[name] = Verdict(ok, f"{100 * old:.2f}", f"{100 * new:.2f}", text)
    return found


def _same_seeds(stored: OwnScores, measured: OwnScores, name: str) -> list[tuple[list[float], list[float]]]:
    """The sums of the images of those runs whose seeds both sides have."""
    old = dict(zip(stored.seeds, stored.sums[name], strict=True))
    pairs = []
    for seed, sums in zip(measured.seeds, measured.sums[name], strict=True):
        if seed in old:
            pairs.append((old[seed], sums))
    return pairs


def _count_moved(pairs: Sequence[tuple[list[float], list[float]]]) -> int:
    """How many images have another sum in some run."""
    moved = [np.not_equal(old, new) for old, new in pairs]
    return int(np.logical_or.reduce(moved).sum())


def _sampling(measured: OwnScores, name: str) -> str:
    """How far the score of other images may be from this one, in words; empty where there is one image."""
    counts = np.array(measured.expressions[name], np.float64)
    sums = np.mean(measured.sums[name], axis=0)
    images = np.arange(len(counts))
    interval = clustered_ratio(sums, counts, images).interval.times(100)
    return f" (other images: ±{interval.margin:.1f})" if interval.known else ""


def _described(check: Check, stored: OwnScores, every: Spread) -> list[str]:
    """What was compared, and what of it could be seen."""
    subsets = [job.cell.subset for job in check.jobs if job.cell.subset is not None]
    data = f"On {subsets[0]}" if subsets else "On all images"
    now = listed([str(seed) for seed in check.asked.seeds])
    before = listed([str(seed) for seed in stored.seeds])
    return [
        f"{data}; seeds {now} against seeds {before}; {check.platform}. The standard deviation of one run is "
        f"{100 * every.deviation:.2f} points ({every.freedom} degrees of freedom)."
    ]


def _changed_cells(stored: OwnScores, measured: OwnScores) -> list[str]:
    """What differs in how the cells were made, which may be why scores moved."""
    cells: dict[str, list[str]] = {}
    for cell, now in measured.cells.items():
        before = stored.cells.get(cell)
        if before is None:
            continue
        for name in dict.fromkeys((*before, *now)):
            old = before.get(name)
            new = now.get(name)
            if old != new:
                cells.setdefault(f"{name} {old} (now {new})", []).append(cell)
    return [f"The baseline had {change}: {', '.join(names)}." for change, names in cells.items()]


def _cell_name(job: Job) -> str:
    return f"{job.cell.method} {job.cell.dataset}"


def _cell_of(entry: str) -> str:
    """The cell of an entry: without the split."""
    return " ".join(entry.split(" ")[:2])


def _fields(job: Job) -> dict[str, JsonValue]:
    """Everything that can change a cell's result, by the names of flat fields, without the seed."""
    return flatten(job.cell.model_dump(mode="json", exclude={"seed"}))
