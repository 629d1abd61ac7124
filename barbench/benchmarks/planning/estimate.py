"""How long a cell will take and how much memory, before it runs: `barbench run --plan`.

From what was measured, where something was: records of the same method on this device; else records of other methods
on the same backbone, scaled by FLOPs; else FLOPs over this machine's rate of matrix products.
"""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from barbench.benchmarks.execution.environment import device_name
from barbench.benchmarks.job import Job
from barbench.benchmarks.planning.cost import cost, matrix_rate
from barbench.engine.recipe import Recipe
from barbench.results.record import Record

PASSES = 3  # a training step, in forward passes
# Share of the rate of matrix products. On a CPU core the tiny backbone reached 0.5 in training and 0.45 in inference, a
# ViT-B/16 0.9 in both: this lies between, within a factor of 1.5 of each.
EFFICIENCY = 0.65
START = 10.0  # seconds of a process before its first step, and after its last; measured where there are records
RESIDENT = 0.9e9  # bytes of a process on a CPU, torch's libraries and the data set included
BYTES = 4  # of a parameter, of its gradient, and of each of Adam's two moments


class Size(NamedTuple):
    """What a task asks for: references in training, expressions in evaluation."""

    references: int
    expressions: int


class Pace(NamedTuple):
    """Seconds of a training step, of an evaluated expression, and of all else; peak bytes; where they come from."""

    step: float
    expression: float
    start: float
    bytes: float
    source: str


class Estimate(NamedTuple):
    seconds: float
    bytes: float
    source: str


def estimate(job: Job, size: Size, records: Sequence[Record]) -> Estimate:
    """Of `job` on its device, with what the done `records` of the results folder tell."""
    recipe = Recipe.model_validate(job.cell.recipe)
    alike = [r for r in records if _comparable(r, job)]
    pace = _measured(job, alike) or _scaled(job, alike) or _computed(job, recipe)
    steps = recipe.epochs * (size.references // recipe.batch)
    return Estimate(pace.start + steps * pace.step + size.expressions * pace.expression, pace.bytes, pace.source)


def _comparable(record: Record, job: Job) -> bool:
    """Whether the record's times are those of this device, backbone, batch and precision."""
    mine, theirs = job.cell, record.cell
    same = ("backbone", "image_size", "precision", "processes")
    batch = ("batch", "accumulate")
    return (
        record.status == "done"
        and record.profile is not None
        and bool(record.history)
        and all(getattr(mine, name) == getattr(theirs, name) for name in same)
        and all(mine.recipe.get(name) == theirs.recipe.get(name) for name in batch)
        and record.environment.get("device") == device_name(job.device)
        and record.environment.get("threads") == job.threads
    )


def _measured(job: Job, alike: Sequence[Record]) -> Pace | None:
    """The medians over the method's own records, those of the same split alone where there are some."""
    own = [r for r in alike if (r.cell.method, r.cell.options) == (job.cell.method, job.cell.options)]
    best = [r for r in own if r.cell.protocol == job.cell.protocol] or own
    if not best:
        return None
    step, expression, start, bytes_ = map(median, zip(*map(_pace, best), strict=True))
    return Pace(step, expression, start, bytes_, _source("records of this method", len(best)))


def _scaled(job: Job, alike: Sequence[Record]) -> Pace | None:
    """The medians over other methods' records, times by FLOPs; memory as the largest of them."""
    if not alike:
        return None
    flops = cost(job).flops
    step, expression, start, bytes_ = zip(*map(_pace, alike), strict=True)
    ratios = [flops / record.profile.flops_forward for record in alike if record.profile]
    return Pace(
        median(s * r for s, r in zip(step, ratios, strict=True)),
        median(e * r for e, r in zip(expression, ratios, strict=True)),
        median(start),
        max(bytes_),
        _source("other methods' records, by FLOPs", len(alike)),
    )


def _pace(record: Record) -> tuple[float, float, float, float]:
    """Step, expression and start in seconds, and peak bytes, as one record has them."""
    step = median(epoch.seconds / epoch.steps for epoch in record.history)
    scored = sum(split.scores.n for split in record.splits.values())
    timings = record.timings
    start = timings.get("total", 0.0) - timings.get("training", 0.0) - timings.get("evaluating", 0.0)
    assert record.profile is not None
    return step, timings.get("evaluating", 0.0) / scored, max(start, 0.0), record.profile.peak_memory_bytes


def _computed(job: Job, recipe: Recipe) -> Pace:
    """FLOPs over the rate of matrix products; memory from what autograd keeps, the weights and Adam's moments."""
    flops, saved, frozen, tuned = cost(job)
    image = flops / (EFFICIENCY * matrix_rate(job.device, job.cell.precision, job.threads))
    share = recipe.batch / job.cell.processes
    resident = RESIDENT if job.device == "cpu" else 0.0
    return Pace(
        PASSES * share * image,
        image / job.cell.processes,
        START,
        resident + BYTES * (frozen + 4 * tuned) + saved * share / recipe.accumulate,
        "FLOPs, and this machine's matrix products",
    )


def _source(text: str, count: int) -> str:
    return f"{count} {text}" if count > 1 else text
