"""Executors by the names of `--executor`: what a command asks of one before any cell is there, and how one is made.

The module of an executor has its name, and its class as EXECUTOR. Neither torch nor a cluster's library is imported
before it is needed.
"""

from importlib import import_module
from typing import get_args

from barbench.benchmarks.execution.executors.base import Executor, Placement
from barbench.benchmarks.execution.host.variables import Slot
from barbench.errors import UnknownName, UsageError
from barbench.spec.run import ExecutorName


def executor_class(name: str) -> type[Executor]:
    """The class of that name; UnknownName for another."""
    names = get_args(ExecutorName)
    if name not in names:
        raise UnknownName("executor", name, names)
    found: type[Executor] = import_module(f"{__package__}.{name}").EXECUTOR
    return found


def place_cells(
    name: str, device: str, gpus: str | None, processes: int, jobs: int | None, small: bool = False
) -> Placement:
    """Where cells run, as far as it is known on this host.

    The arguments are those of `local_slots`.

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
    threads = devices.thread_count(slots[0].cores, processes)
    return Placement(picked, threads, slots)
