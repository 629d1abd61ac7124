"""From `--executor`, `--cluster`, `--gpus` and `--jobs` to where cells run. Used by `barbench run` and `tune`."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from barbench.errors import UsageError

RETRIES = 2
"""Of a cell that is lost on a cluster, where hosts come and go; on this host somebody should look."""


def make_executor(request: Any, backbones: Sequence[str] = ()) -> Any:
    """Where the cells of a request run.

    Args:
        request: a `RunRequest`.
        backbones: of its cells; they matter on this host alone.

    Returns:
        An executor. A cluster has been asked whether it is there.

    Raises:
        UsageError: where there is no such cluster, or it can never run such a cell.
    """
    if request.executor == "local":
        from barbench.benchmarks.execution.executors.local import Local
        from barbench.commands.expand import slots_for

        return Local(slots_for(request, backbones))
    from barbench.spec.cluster import Cluster

    gpus = request.processes if on_gpus(request) else 0
    cluster = Cluster.read(request.cluster)
    if request.executor == "slurm":
        from barbench.benchmarks.execution.executors.slurm import Slurm

        return Slurm(cluster, gpus, request.jobs)
    from barbench.benchmarks.execution.executors.ray import Ray

    return Ray(cluster, gpus, request.jobs)


def check_tracker(name: str) -> None:
    """Refuse a tracker that is not installed.

    Args:
        name: as `--tracker` has it.

    Raises:
        UsageError: where it is not.
    """
    if find_spec(name) is None:
        raise UsageError(f"--tracker {name} needs {name}: pip install 'barbench[trackers]', or {name} alone")


def on_gpus(request: Any) -> bool:
    """Whether the cells of a cluster want GPUs.

    Args:
        request: a `RunRequest`.

    Returns:
        False for `--device cpu` and `--gpus none`.

    Raises:
        UsageError: for GPUs by number, which the cluster chooses.
    """
    if request.gpus not in (None, "all", "none") or request.device not in ("auto", "cuda", "cpu"):
        raise UsageError(f"--executor {request.executor}: the cluster chooses GPUs; --gpus is all or none there")
    return bool(request.gpus != "none" and request.device != "cpu")


def run_cells(
    jobs: Any,
    results: Path,
    console: Console,
    executor: Any,
    forecast: Any = None,
    halve: bool = False,
    retries: int | None = None,
    detach: bool = False,
) -> Any:
    """Run cells, with their progress on `console`.

    Args:
        jobs: the cells.
        results: folder of the records.
        console: shows the progress.
        executor: where they run.
        forecast: seconds that each cell should take, by its id.
        halve: as for `run_jobs`.
        retries: as for `run_jobs`; None: RETRIES on a cluster, 0 on this host.
        detach: as for `run_jobs`.

    Returns:
        One record per job, in their order.
    """
    from barbench.benchmarks.execution.display import display_for
    from barbench.benchmarks.execution.run import run_jobs

    if retries is None:
        retries = 0 if executor.name == "local" else RETRIES
    display = display_for(console, forecast, executor.slots)
    try:
        return run_jobs(jobs, results, display, halve, executor, retries, forecast, detach)
    finally:
        display.stop()
