"""What a run will do: its cells, which are done, time and memory: `barbench run --table 4 --plan`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barbench.benchmarks.execution.display import clock, makespan
from barbench.benchmarks.execution.host.environment import device_name
from barbench.benchmarks.job import Job
from barbench.benchmarks.planning.estimate import Estimate, Size, estimate
from barbench.datasets.overlap import Outlines, read_outlines, training
from barbench.datasets.subset import chosen_images, expressions
from barbench.paper.partitions import Partition
from barbench.results.record import Record, Subset
from barbench.results.store import Store
from barbench.spec.dataset import Dataset
from barbench.spec.text import plural

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Planned:
    """A cell of a plan.

    Attributes:
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
            return "interrupted, will continue" if self.job.checkpoint.exists() else "to run"
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
        seconds = {}
        for planned in self.cells:
            if planned.estimate is not None:
                seconds[planned.job.cell.id()] = planned.estimate.seconds
        return seconds

    def rows(self) -> list[dict[str, Any]]:
        """One row per cell."""
        return [_row(planned) for planned in self.cells]

    def summary(self, slots: int = 1) -> str:
        """The total in one line: what is done, and how long the rest will take, `slots` cells at a time."""
        waiting = self.waiting
        place = self.cells[0].job.place
        done = f"{plural(len(self.cells), 'cell')}: {len(self.cells) - len(waiting)} done, {len(waiting)} to run"
        if not waiting:
            return f"{done}."
        if not place.threads:
            return f"{done}; time and memory unknown: they are those of the cluster's devices."
        where = f"{device_name(place.device)}, {plural(place.threads, 'thread')}"
        # Estimates exist only for cells with a record of their method.
        known = [cell.estimate for cell in waiting if cell.estimate is not None]
        if not known:
            return f"{done}; time and memory unknown: no record of these methods here ({where})."
        seconds = sorted((each.seconds for each in known), reverse=True)  # the longest begin first
        time = clock(makespan([], seconds, slots))
        peaks = [max(each.bytes, each.evaluation_bytes) for each in known]
        memory = max(peaks) / 1e9
        unknown = len(waiting) - len(known)
        rest = f", without the {unknown} that no record tells of" if unknown else ""
        if slots > 1:
            where += f", {slots} at a time"
        return f"{done}, about {time} here ({where}) and up to {memory:.1f} GB of memory{rest}."


def _row(planned: Planned) -> dict[str, Any]:
    """A cell with its estimate; nothing is estimated for a cell that is done."""
    cell = planned.job.cell
    method = cell.method
    for name, value in cell.options.items():
        method += f" {name}={value}"
    # A cell that is done costs nothing, and nothing is estimated for it.
    time = "" if planned.done else UNKNOWN
    memory = time
    in_evaluation = time
    source = ""
    if planned.estimate is not None:
        time = clock(planned.estimate.seconds)
        memory = f"{planned.estimate.bytes / 1e9:.1f} GB"
        if planned.estimate.evaluation_bytes:
            in_evaluation = f"{planned.estimate.evaluation_bytes / 1e9:.1f} GB"
        else:
            in_evaluation = UNKNOWN
        source = planned.estimate.source
    return {
        "method": method,
        "backbone": cell.backbone,
        "head": cell.head_words,
        "split": cell.dataset,
        "recipe": cell.recipe["name"],
        "seed": str(cell.seed),
        "state": planned.state,
        "time": time,
        "memory": memory,
        "memory in evaluation": in_evaluation,
        "estimated from": source,
    }


def make_plan(jobs: Sequence[Job], store: Store) -> RunPlan:
    """Say what a run will do, without running it; `jobs` are at least one, all on the same device and data root."""
    earlier = store.all()
    sizes = _sizes(jobs)
    cells = []
    for job in jobs:
        record = store.load(job.cell)
        if record is not None and record.status == "done":
            cells.append(Planned(job, record, None))
        else:
            cells.append(Planned(job, record, estimate(job, sizes[job.dataset.name], earlier)))
    return RunPlan(tuple(cells))


def _sizes(jobs: Sequence[Job]) -> dict[str, Size]:
    """Sizes by split, from the references files alone: a few unusable references make no difference."""
    # A file of references is read once for all data sets that have it.
    datasets = {job.dataset.name: job.dataset for job in jobs}
    subsets = {job.dataset.name: job.cell.subset for job in jobs}
    partitions: list[Partition] = []
    for dataset in datasets.values():
        partitions += dataset.partitions
    [root] = {job.files.data for job in jobs}
    outlines = read_outlines(root, list(dict.fromkeys(partitions)))
    sizes = {}
    for name, dataset in datasets.items():
        sizes[name] = _size(dataset, subsets[name], outlines)
    return sizes


def _size(dataset: Dataset, subset: Subset | None, outlines: Outlines) -> Size:
    """The references and expressions of a data set's images, of those alone that a cell is limited to."""
    limits = subset or Subset()
    entries = training(dataset, outlines)
    if limits.train is not None:
        kept = chosen_images([entry.image_id for entry in entries], dataset.name, "train", limits.train)
        entries = [entry for entry in entries if entry.image_id in kept]
    return Size(len(entries), expressions(dataset, outlines, limits.evaluate))
