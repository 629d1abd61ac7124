"""Executors by the names of `--executor`: what a command asks of one before any cell is there, and how one is made.

Neither torch nor a cluster's library is imported before it is needed.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Final, NamedTuple

from barbench.benchmarks.execution.executors.base import Executor
from barbench.benchmarks.execution.executors.local import Local
from barbench.benchmarks.execution.executors.ray import Ray
from barbench.benchmarks.execution.executors.slurm import Slurm
from barbench.benchmarks.execution.host.variables import Slot
from barbench.errors import UnknownName, UsageError
from barbench.spec.cluster import Cluster

_CLUSTERS: Final[Mapping[str, type[Ray] | type[Slurm]]] = {Slurm.name: Slurm, Ray.name: Ray}
EXECUTORS: Final[Mapping[str, type[Executor]]] = {Local.name: Local, **_CLUSTERS}
"""Each class by its name; `settles_on_host`, `default_retries` and `detaches` say what differs."""


class Placement(NamedTuple):
    """What is known of where cells run before they are there.

    Attributes:
        device: of a cell, as torch names it in the cell's process: never with a number.
        threads: of each process; 0: chosen on the host where it runs.
        slots: shares of this host, one per cell that runs at a time; empty where a cluster decides that.
    """

    device: str
    threads: int
    slots: tuple[Slot, ...] = ()


def executor_class(name: str) -> type[Executor]:
    """The class of that name; UnknownName for another."""
    if name not in EXECUTORS:
        raise UnknownName("executor", name, EXECUTORS)
    return EXECUTORS[name]


def place_cells(
    name: str, device: str, gpus: str | None, processes: int, jobs: int | None, small: bool = False
) -> Placement:
    """Where cells run, as far as it is known on this host.

    Args:
        name: of the executor.
        device: of `--device`.
        gpus: of `--gpus`: all, none, or a comma list of numbers; None: all where the device is a GPU.
        processes: of one cell, one GPU each.
        jobs: cells at a time; None: as many as there are shares of GPUs.
        small: whether one core of a CPU does for a cell; it matters on this host alone.

    Returns:
        Device, threads and slots.

    Raises:
        UsageError: for a device or GPUs that are not there, and for GPUs by number on a cluster.
    """
    # A cluster: this host knows the kind of device, and nothing else.
    if executor_class(name).settles_on_host:
        if gpus not in (None, "all", "none") or device not in ("auto", "cuda", "cpu"):
            raise UsageError(f"--executor {name}: the cluster chooses GPUs; --gpus is all or none there")
        without_gpu = gpus == "none" or device == "cpu"
        return Placement("cpu" if without_gpu else "cuda", threads=0)

    # This host: its module imports torch, which commands do only here.
    devices = import_module("barbench.benchmarks.execution.host.devices")
    slots: tuple[Slot, ...] = tuple(devices.local_slots(device, gpus, processes, jobs, small))
    asked = "cpu" if gpus == "none" else device
    picked = "cuda" if slots[0].gpus else devices.pick_device(asked)
    threads = max(1, slots[0].cores // processes)
    return Placement(picked, threads, slots)


def make_executor(name: str, placement: Placement, cluster: Cluster, processes: int, jobs: int | None) -> Executor:
    """An executor; a cluster is asked whether it is there.

    Args:
        name: of the executor.
        placement: of its cells.
        cluster: what a cell asks of a cluster; without effect on this host.
        processes: of one cell, one GPU each.
        jobs: cells at a time on a cluster; None: as many as it likes.

    Returns:
        The executor, not started.

    Raises:
        UsageError: where there is no such cluster, its library is not installed, or it can never run such a cell.
    """
    executor_class(name)
    if name not in _CLUSTERS:
        return Local(placement.slots)
    gpus = processes if placement.device == "cuda" else 0
    return _CLUSTERS[name](cluster, gpus, jobs)
