"""What a run will do: its cells, which are done, time and memory: `barbench run --table 4 --plan`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barbench.benchmarks.execution.display import clock, makespan
from barbench.benchmarks.execution.host.environment import device_name
from barbench.benchmarks.job import Job
from barbench.benchmarks.planning.estimate import Estimate, Size, estimate
from barbench.datasets.overlap import expressions, read_outlines, training
from barbench.results.record import Record
from barbench.results.store import Store
from barbench.spec.dataset import resolve_dataset

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Planned:
    """A cell of a plan.

    Attributes:
        job: the cell and where it runs.
        record: of an earlier run, if there is one.
        estimate: what it will take; None if it is done, or if no record tells.
    """

    job: Job
    record: Record | None
    estimate: Estimate | None

    @property
    def done(self) -> bool:
        """Whether there is nothing left to run."""
        return self.record is not None and self.record.status == "done"

    @property
    def state(self) -> str:
        """The cell's state in words."""
        if self.record is None:
            return "interrupted, goes on" if self.job.checkpoint.exists() else "to run"
        return "done" if self.done else f"{self.record.status} before, runs again"


@dataclass(frozen=True)
class RunPlan:
    """The cells of a run in the order of running."""

    cells: tuple[Planned, ...]

    @property
    def waiting(self) -> list[Planned]:
        """The cells that will run."""
        return [cell for cell in self.cells if not cell.done]

    @property
    def forecast(self) -> Mapping[str, float]:
        """Seconds of each cell that will run, by its id; cells without a comparable record are missing."""
        return {c.job.cell.id(): c.estimate.seconds for c in self.cells if c.estimate is not None}

    def rows(self) -> list[dict[str, Any]]:
        """One row per cell."""
        return [
            {
                "method": c.job.cell.method + "".join(f" {k}={v}" for k, v in c.job.cell.options.items()),
                "backbone": c.job.cell.backbone,
                "split": c.job.cell.protocol,
                "recipe": c.job.cell.recipe["name"],
                "seed": str(c.job.cell.seed),
                "state": c.state,
                "time": clock(c.estimate.seconds) if c.estimate else UNKNOWN * (not c.done),
                "memory": f"{c.estimate.bytes / 1e9:.1f} GB" if c.estimate else UNKNOWN * (not c.done),
                "estimated from": c.estimate.source if c.estimate else "",
            }
            for c in self.cells
        ]

    def summary(self, slots: int = 1) -> str:
        """The total in one line.

        Args:
            slots: cells that run at a time.

        Returns:
            What is done, and how long the rest will take as far as records tell.
        """
        waiting, job, total = self.waiting, self.cells[0].job, len(self.cells)
        done = f"{total} cell{'s' * (total != 1)}: {total - len(waiting)} done, {len(waiting)} to run"
        if not waiting:
            return f"{done}."
        if not job.threads:
            return f"{done}; time and memory unknown: they are those of the cluster's devices."
        where = f"{device_name(job.device)}, {job.threads} thread{'s' * (job.threads != 1)}"
        known = [c.estimate for c in waiting if c.estimate]
        if not known:
            return f"{done}; time and memory unknown: no record of these methods here ({where})."
        seconds = sorted((each.seconds for each in known), reverse=True)  # the longest begin first
        time, memory = clock(makespan([], seconds, slots)), max(each.bytes for each in known) / 1e9
        rest = f", without the {len(waiting) - len(known)} that no record tells of" if len(known) < len(waiting) else ""
        where += f", {slots} at a time" * (slots > 1)
        return f"{done}, about {time} here ({where}) and up to {memory:.1f} GB of memory{rest}."


def make_plan(jobs: Sequence[Job], store: Store) -> RunPlan:
    """Say what a run will do, without running it.

    Args:
        jobs: at least one, all on the same device and data root.
        store: the results folder, with the records that tell of times.

    Returns:
        The cells in the order of `jobs`, with what each will take.
    """
    found, records = store.all(), {job.cell.id(): store.load(job.cell) for job in jobs}
    sizes = _sizes(jobs)
    cells = []
    for job in jobs:
        record = records[job.cell.id()]
        done = record is not None and record.status == "done"
        cells.append(Planned(job, record, None if done else estimate(job, sizes[job.cell.protocol], found)))
    return RunPlan(tuple(cells))


def _sizes(jobs: Sequence[Job]) -> dict[str, Size]:
    """Sizes by split, from the references files alone: a few unusable references make no difference."""
    roots = {job.cell.protocol: job.data_root for job in jobs}
    [root] = set(roots.values())
    datasets = [resolve_dataset(name, root) for name in roots]
    partitions = dict.fromkeys(partition for dataset in datasets for partition in dataset.partitions)
    outlines = read_outlines(root, partitions)
    return {d.name: Size(len(training(d, outlines)), expressions(d, outlines)) for d in datasets}
