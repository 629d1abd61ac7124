"""What a run is going to do: its cells, which are done, time and memory: `barbench run --table 4 --plan`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barbench.benchmarks.execution.display import clock
from barbench.benchmarks.execution.environment import device_name
from barbench.benchmarks.job import Job
from barbench.benchmarks.planning.estimate import Estimate, Size, estimate
from barbench.datasets.overlap import expressions, read_outlines, training
from barbench.paper.mixtures import TASKS
from barbench.paper.protocols import PROTOCOLS
from barbench.results.record import Record
from barbench.results.store import Store


@dataclass(frozen=True)
class Planned:
    """A cell, its record where it was tried before, and what it will take; None for one that is done."""

    job: Job
    record: Record | None
    estimate: Estimate | None

    @property
    def state(self) -> str:
        if self.record is None:
            return "interrupted, goes on" if self.job.checkpoint.exists() else "to run"
        return "done" if self.record.status == "done" else f"{self.record.status} before, runs again"


@dataclass(frozen=True)
class Plan:
    cells: tuple[Planned, ...]

    @property
    def waiting(self) -> list[Planned]:
        return [cell for cell in self.cells if cell.estimate is not None]

    @property
    def forecast(self) -> Mapping[str, float]:
        """Seconds of each cell that will run, by its id."""
        return {c.job.cell.id(): c.estimate.seconds for c in self.cells if c.estimate is not None}

    def rows(self) -> list[dict[str, Any]]:
        """One a cell, in the order of running."""
        return [
            {
                "method": c.job.cell.method + "".join(f" {k}={v}" for k, v in c.job.cell.options.items()),
                "backbone": c.job.cell.backbone,
                "split": c.job.cell.protocol,
                "recipe": c.job.cell.recipe["name"],
                "seed": str(c.job.cell.seed),
                "state": c.state,
                "time": clock(c.estimate.seconds) if c.estimate else "",
                "memory": f"{c.estimate.bytes / 1e9:.1f} GB" if c.estimate else "",
                "estimated from": c.estimate.source if c.estimate else "",
            }
            for c in self.cells
        ]

    def summary(self) -> str:
        """The total in one line."""
        waiting, job, total = self.waiting, self.cells[0].job, len(self.cells)
        done = f"{total} cell{'s' * (total != 1)}: {total - len(waiting)} done, {len(waiting)} to run"
        if not waiting:
            return f"{done}."
        where = f"{device_name(job.device)}, {job.threads} thread{'s' * (job.threads != 1)}"
        memory = max(c.estimate.bytes for c in waiting if c.estimate) / 1e9
        return f"{done}, about {clock(sum(self.forecast.values()))} here ({where}) and up to {memory:.1f} GB of memory."


def make_plan(jobs: Sequence[Job], store: Store) -> Plan:
    """The plan of `jobs`: from the records in `store` and the references' files of the data."""
    found, records = store.all(), {job.cell.id(): store.load(job.cell) for job in jobs}
    sizes = _sizes(jobs)
    cells = []
    for job in jobs:
        record = records[job.cell.id()]
        done = record is not None and record.status == "done"
        cells.append(Planned(job, record, None if done else estimate(job, sizes[job.cell.protocol], found)))
    return Plan(tuple(cells))


def _sizes(jobs: Sequence[Job]) -> dict[str, Size]:
    """By split. The references' files alone tell them: a few unusable references make no difference."""
    roots = {job.cell.protocol: job.data_root for job in jobs}
    [root] = set(roots.values())
    tasks = [TASKS.get(name) for name in roots]
    read = {protocol for task in tasks for protocol in task.reads}
    outlines = read_outlines(root, [p for p in PROTOCOLS if p in read])
    return {t.name: Size(len(training(t, outlines)), expressions(t, outlines)) for t in tasks}
