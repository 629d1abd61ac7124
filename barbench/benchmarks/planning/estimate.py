"""Estimates how long a cell will take and how much memory, before it runs: `barbench run --plan`.

From records of the same method under the same conditions on this device. Without such a record, nothing is known.
"""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from barbench.benchmarks.execution.host.environment import device_name
from barbench.benchmarks.job import Job
from barbench.results.record import Record
from barbench.spec.recipe import Recipe


class Size(NamedTuple):
    """What a task asks for: references in training, expressions in evaluation."""

    references: int
    expressions: int


class Pace(NamedTuple):
    """What records say of a cell.

    Attributes:
        step: seconds per training step.
        expression: seconds per evaluated expression.
        start: seconds of all else.
        bytes: peak memory.
        records: how many records say so.
    """

    step: float
    expression: float
    start: float
    bytes: float
    records: int


class Estimate(NamedTuple):
    """Time in seconds, peak memory in bytes, and in words where they come from."""

    seconds: float
    bytes: float
    source: str


def estimate(job: Job, size: Size, records: Sequence[Record]) -> Estimate | None:
    """What `job` will take on its device.

    Args:
        job: the cell and where it will run.
        size: of its dataset.
        records: of the results folder.

    Returns:
        Medians over the records of the same method and conditions, scaled by steps and expressions; None without one.
    """
    if not job.place.threads:
        return None  # on a cluster, whose devices are not known here
    recipe = Recipe.model_validate(job.cell.recipe)
    pace = _measured(job, [record for record in records if _comparable(record, job)])
    if pace is None:
        return None
    steps = recipe.epochs * (size.references // recipe.batch)
    seconds = pace.start + steps * pace.step + size.expressions * pace.expression
    source = f"{pace.records} records of this method" if pace.records > 1 else "a record of this method"
    return Estimate(seconds, pace.bytes, source)


def _comparable(record: Record, job: Job) -> bool:
    """Whether the record's times are valid for this device, backbone, batch and precision."""
    mine, theirs = job.cell, record.cell
    same = ("backbone", "image_size", "precision", "processes")
    batch = ("batch", "accumulate")
    return (
        record.status == "done"
        and record.profile is not None
        and bool(record.history)
        and all(getattr(mine, name) == getattr(theirs, name) for name in same)
        and all(mine.recipe.get(name) == theirs.recipe.get(name) for name in batch)
        and record.environment.get("device") == device_name(job.place.device)
        and record.environment.get("threads") == job.place.threads
    )


def _measured(job: Job, alike: Sequence[Record]) -> Pace | None:
    """The medians over the method's own records; only those of the same split, if there are any."""
    own = [r for r in alike if (r.cell.method, r.cell.options) == (job.cell.method, job.cell.options)]
    best = [r for r in own if r.cell.dataset == job.cell.dataset] or own
    if not best:
        return None
    step, expression, start, bytes_ = map(median, zip(*map(_pace, best), strict=True))
    return Pace(step, expression, start, bytes_, len(best))


def _pace(record: Record) -> tuple[float, float, float, float]:
    """Step, expression and start in seconds, and peak bytes, as one record has them."""
    step = median(epoch.seconds / epoch.steps for epoch in record.history)
    scored = sum(split.scores.n for split in record.splits.values())
    timings = record.timings
    start = timings.get("total", 0.0) - timings.get("training", 0.0) - timings.get("evaluating", 0.0)
    assert record.profile is not None
    return step, timings.get("evaluating", 0.0) / scored, max(start, 0.0), record.profile.peak_memory_bytes
