"""Cells as tasks of a Ray cluster (extra `ray`), one each. A task that is lost with its node is tried again by the run.

Ray ends the tasks of a command that ends; to leave a run alone, give the command to `ray job submit`.
"""

import logging
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, Final

from barbench.benchmarks.execution.attempt import Attempt, StopRequest, perform, report_end
from barbench.benchmarks.execution.executors.base import CellEvent, EventReader, Executor, Placement
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.outcome import Ended
from barbench.benchmarks.execution.run_folder import RunFolder
from barbench.errors import UsageError
from barbench.spec.cluster import Cluster
from barbench.spec.text import plural

GRACE_SECONDS: Final = 120.0
"""That a worker has for the step under way and its checkpoint."""
_GB: Final = 2**30


class Ray(Executor):
    """Executor of a Ray cluster.

    Args:
        cells_at_once: that are given to Ray at a time at most; None: all.

    Raises:
        UsageError: without Ray, without a cluster at the address, and where no node of it can hold a cell.
    """

    name: ClassVar[str] = "ray"
    settles_on_host: ClassVar[bool] = True
    default_retries: ClassVar[int] = 2  # nodes join and leave
    detaches: ClassVar[bool] = False

    def __init__(self, cluster: Cluster, gpus: int, cells_at_once: int | None = None) -> None:
        try:
            self._ray: Any = import_module("ray")
        except ImportError:
            raise UsageError("--executor ray needs Ray: pip install 'barbench[ray]'") from None
        self.cluster = cluster
        self.gpus = gpus
        self.slots = cells_at_once
        # By Ray's reference to a task; then what Ray has not been given yet.
        self._tasks: dict[Any, Attempt] = {}
        self._waiting: list[Attempt] = []
        self._stopped: list[CellEvent] = []
        self._connect()
        self._check()

    def _connect(self) -> None:
        address = self.cluster.address
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if address == "local":
            options["include_dashboard"] = False
        else:
            options["address"] = address
        # Ray replaces the handler by its own, which would end the command and stop no cell.
        handler = signal.getsignal(signal.SIGTERM)
        try:
            _look_for(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
            self._ray.init(**options)
        except (OSError, RuntimeError, ValueError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UsageError(
                f"--executor ray: no cluster at {address} ({first}); `ray start --head` starts one, and "
                "--cluster address=local one for this command"
            ) from None
        finally:
            signal.signal(signal.SIGTERM, handler)

    def _check(self) -> None:
        """A single node must hold a cell: the sum over all nodes says nothing."""
        wanted = {"CPU": float(self.cluster.cpus), "GPU": float(self.gpus)}
        if self.cluster.memory_gb is not None:
            wanted["memory"] = self.cluster.memory_gb * _GB
        nodes: list[Mapping[str, float]] = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        # A cluster that grows may still get such a node.
        if self.cluster.autoscale or any(_holds(node, wanted) for node in nodes):
            return
        descriptions = {_describe(node) for node in nodes}
        there = "; ".join(sorted(descriptions))
        self._ray.shutdown()
        raise UsageError(f"no node of the Ray cluster can hold a cell with {_describe(wanted)}; they have {there}")

    @classmethod
    def make(cls, placement: Placement, cluster: Cluster, gpus: int, cells_at_once: int | None) -> "Ray":
        """One for the cluster, which chooses the slots."""
        return cls(cluster, gpus, cells_at_once)

    def start(self, run: RunFolder, lock: int) -> None:
        """Tasks know the run by its folder alone."""
        self._run = run
        self._events = EventReader(run)
        options: dict[str, Any] = {"num_cpus": self.cluster.cpus, "num_gpus": self.gpus, "max_retries": 0}
        if self.cluster.memory_gb is not None:
            options["memory"] = self.cluster.memory_gb * _GB
        self._task = self._ray.remote(**options)(task)

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """In this order."""
        self._waiting += attempts
        self._fill()

    def _fill(self) -> None:
        while self._waiting and (self.slots is None or len(self._tasks) < self.slots):
            attempt = self._waiting.pop(0)
            reference = self._task.remote(attempt.model_dump_json(), self.cluster.cpus)
            self._tasks[reference] = attempt

    def poll(self, seconds: float) -> list[CellEvent]:
        """The events of the cells, then the ends of tasks."""
        # Waits for the first task that ends; events are read from files afterwards.
        over: list[Any] = []
        if self._tasks:
            over, _ = self._ray.wait(list(self._tasks), timeout=seconds, num_returns=1)

        # A task's return value says how it ended; the same in its events would count twice.
        found: list[CellEvent] = []
        for cell, event in self._events.new({attempt.cell for attempt in self._tasks.values()}):
            if not isinstance(event, Ended):
                found.append((cell, event))
        found += self._stopped
        self._stopped = []
        for reference in over:
            attempt = self._tasks.pop(reference)
            found.append((attempt.cell, self._end_of(reference, attempt)))
        self._fill()
        return found

    def _end_of(self, reference: Any, attempt: Attempt) -> Ended:
        errors = self._ray.exceptions
        try:
            return Ended(*self._ray.get(reference))
        except errors.OutOfMemoryError:
            return Ended("out-of-memory", "Ray ended the task: out of memory", attempt.number)
        except errors.RayError as error:
            return Ended("lost", f"its task is gone ({type(error).__name__})", attempt.number)

    def alive(self) -> set[str]:
        """Those of which Ray has not said that they ended."""
        return {attempt.cell for attempt in self._tasks.values()}

    def stop(self) -> None:
        """Ask by the run's folder; those that wait are never begun."""
        self._run.ask_to_stop()
        for attempt in self._waiting:
            self._stopped.append((attempt.cell, Ended("stopped", "it had not begun", attempt.number)))
        self._waiting = []

    def close(self) -> None:
        """End what still runs; a cluster that was there before stays."""
        for reference in self._tasks:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()


def _look_for(address: str) -> None:
    """Raise OSError where nothing listens at HOST:PORT; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "://" not in address:
        socket.create_connection((host, int(port)), timeout=5.0).close()


def _holds(node: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return all(node.get(name, 0.0) >= amount for name, amount in wanted.items())


def _describe(resources: Mapping[str, float]) -> str:
    cores = plural(round(resources.get("CPU", 0.0)), "core")
    gpus = plural(round(resources.get("GPU", 0.0)), "GPU")
    text = f"{cores}, {gpus}"
    if "memory" in resources:
        text += f", {resources['memory'] / _GB:.0f} GB of memory"
    return text


def task(text: str, cores: int) -> tuple[Any, ...]:
    """What a node runs: one attempt, given as JSON."""
    attempt = Attempt.model_validate_json(text)
    ended = perform(attempt, StopRequest(), slot=Slot(cores=cores), grace=GRACE_SECONDS)
    report_end(attempt, ended)
    return tuple(ended)


EXECUTOR: type[Executor] = Ray
