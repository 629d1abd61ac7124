"""From the cells of a run to their records: what belongs to this host is resolved, an executor is made, cells run.

Used by `barbench run` and `tune`, once all arguments are checked.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, get_args

from rich.console import Console

from barbench.benchmarks.execution.display import display_for
from barbench.benchmarks.execution.executors.base import Executor, Placement
from barbench.benchmarks.execution.executors.make import executor_class, place_cells
from barbench.benchmarks.execution.run import run_jobs
from barbench.benchmarks.job import Job
from barbench.datasets.sources import cache_folder
from barbench.errors import UsageError
from barbench.models.towers.weights import find_weights, sources
from barbench.results.record import Record
from barbench.spec.backbone import EMBEDDED, backbone_config
from barbench.spec.cluster import Cluster
from barbench.spec.run import AUTO, ExecutorName, Place


class Launch(NamedTuple):
    """Cells, ready to run, at the place as far as it is known here."""

    jobs: list[Job]
    placement: Placement

    @property
    def place(self) -> Place:
        """Of all cells."""
        return self.jobs[0].place

    @property
    def slots(self) -> int:
        """Number of cells that will run at a time, as far as it is known."""
        return len(self.placement.slots) or self.place.jobs or 1

    def executor(self) -> Executor:
        """Make the executor; a cluster is asked whether it is there, and UsageError says why it is not."""
        place = self.place
        gpus = place.processes if self.placement.device == "cuda" else 0
        return executor_class(place.executor).make(self.placement, place.cluster or Cluster(), gpus, place.jobs)


def prepare(jobs: Sequence[Job], detach: bool = False) -> Launch:
    """Resolve what is known before a cell is there: on this host all but the loaders; on a cluster the kind of device.

    Raises:
        UsageError: where the place does not fit the executor, the host or the cells.
        MissingData: for weights that are not on this host.
    """
    asked = jobs[0].place
    _check(asked, detach)
    small = all(job.files.backbone in EMBEDDED for job in jobs)
    placement = place_cells(asked.executor, asked.device, asked.gpus, asked.processes, asked.jobs, small)
    for job in jobs:
        if job.cell.precision == "fp16" and placement.device == "cpu":
            raise UsageError("--precision fp16 needs a GPU; on a CPU use fp32 or bf16")
    # A cluster's hosts choose the rest by themselves; here it is known.
    known: dict[str, object] = {"device": placement.device, "threads": placement.threads}
    if executor_class(asked.executor).settles_on_host:
        known["results"] = asked.results.resolve()
    else:
        if asked.cache == AUTO:
            known["cache"] = cache_folder()
        for backbone, weights in dict.fromkeys((job.files.backbone, job.weights) for job in jobs):
            _require_weights(backbone, weights)
    return Launch([job.at(**known) for job in jobs], placement)


def _check(place: Place, detach: bool) -> None:
    """Refuse a tracker that is not installed, and options of an executor that does not have them."""
    tracker = place.tracker
    if tracker is not None and find_spec(tracker) is None:
        raise UsageError(f"--tracker {tracker} needs {tracker}: pip install 'barbench[trackers]', or {tracker} alone")
    executor = executor_class(place.executor)
    if detach and not executor.detaches:
        raise UsageError("--detach is for --executor slurm; with Ray, give the command to `ray job submit`")
    if place.cluster is not None and not executor.settles_on_host:
        clusters = [name for name in get_args(ExecutorName) if executor_class(name).settles_on_host]
        raise UsageError(f"--cluster is for --executor {' or '.join(clusters)}")


def _require_weights(backbone: str, weights: str) -> None:
    """Check that weights which open_clip or timm knows by a tag are on this machine."""
    config = backbone_config(backbone)
    if config.folder is not None:
        return
    for source in sources(config, weights):
        if not Path(source.weights).is_file():
            find_weights(source)


def run_cells(
    launch: Launch,
    console: Console,
    forecast: Mapping[str, float] | None = None,
    detach: bool = False,
    again: bool = False,
) -> list[Record]:
    """Run cells, with their progress on `console`; the other arguments are those of `run_jobs`."""
    executor = launch.executor()
    place = launch.place
    halve = place.on_oom == "halve"
    retries = executor.default_retries if place.retries is None else place.retries
    display = display_for(console, forecast, executor.slots)
    try:
        return run_jobs(launch.jobs, place.results, display, halve, executor, retries, forecast, detach, again)
    finally:
        display.stop()
