"""Estimates how long a cell will take and how much memory, before it runs: `barbench run --plan`.

From records of the same method under the same conditions on this device. Without such a record, nothing is known.
"""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from barbench.benchmarks.execution.host.environment import device_name
from barbench.benchmarks.job import Job
from barbench.results.record import Record
from barbench.spec.text import plural


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
        bytes: peak memory of the training.
        evaluation_bytes: peak memory of the evaluation; 0 where no record has it.
    """

    step: float
    expression: float
    start: float
    bytes: float
    evaluation_bytes: float


class Estimate(NamedTuple):
    """Time in seconds, peak memory of the training and of the evaluation in bytes (0: unknown), and in words where they
    come from."""

    seconds: float
    bytes: float
    evaluation_bytes: float
    source: str


def estimate(job: Job, size: Size, records: Sequence[Record]) -> Estimate | None:
    """What `job` will take on its device: medians over the records of the same method and conditions, scaled by steps
    and expressions; None without one."""
    if not job.place.threads:
        return None  # on a cluster, whose devices are not known here
    paces = _measured(job, [record for record in records if _comparable(record, job)])
    if not paces:
        return None
    pace = Pace(*map(median, zip(*paces, strict=True)))
    recipe = job.recipe
    steps = recipe.epochs * (size.references // recipe.batch)
    seconds = pace.start + steps * pace.step + size.expressions * pace.expression
    source = f"{plural(len(paces), 'record')} of this method"
    return Estimate(seconds, pace.bytes, pace.evaluation_bytes, source)


def _comparable(record: Record, job: Job) -> bool:
    """Whether the record's times are valid for this device, backbone, batch and precision."""
    if record.status != "done" or record.profile is None or not record.history:
        return False
    # What a step costs beside its method, which `_measured` looks at.
    mine = job.cell
    theirs = record.cell
    for name in ("backbone", "image_size", "neck", "head_form", "precision", "processes"):
        if getattr(mine, name) != getattr(theirs, name):
            return False
    for name in ("batch", "accumulate"):
        if mine.recipe.get(name) != theirs.recipe.get(name):
            return False
    here = (device_name(job.place.device), job.place.threads)
    return (record.environment.get("device"), record.environment.get("threads")) == here


def _measured(job: Job, alike: Sequence[Record]) -> list[Pace]:
    """Of the method's own records with the same options; only those of the same dataset, if there are any."""
    own = []
    for record in alike:
        if record.cell.method == job.cell.method and record.cell.options == job.cell.options:
            own.append(record)
    same_data = [record for record in own if record.cell.dataset == job.cell.dataset]
    return [_pace(record) for record in same_data or own]


def _pace(record: Record) -> Pace:
    """As one record has it."""
    assert record.profile is not None
    scored = sum(split.scores.n for split in record.splits.values())
    # All that is neither training nor evaluating is the start: loading and profiling.
    timings = record.timings
    evaluating = timings.get("evaluating", 0.0)
    start = timings.get("total", 0.0) - timings.get("training", 0.0) - evaluating
    return Pace(
        step=median(epoch.seconds / epoch.steps for epoch in record.history),
        expression=evaluating / scored,
        start=max(start, 0.0),
        bytes=record.profile.peak_memory_bytes,
        evaluation_bytes=record.profile.evaluation_memory_bytes or 0,
    )
