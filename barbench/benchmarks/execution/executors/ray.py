"""Cells as tasks of a Ray cluster (extra `ray`), one each. A task that its node took with it is tried again by the run.

Ray ends the tasks of a command that ends; to leave a run alone, give the command to `ray job submit`.
"""

import logging
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar

from barbench.benchmarks.execution.attempt import Wish, perform, tell_end
from barbench.benchmarks.execution.executors.base import Attempt, Ended, State, Told
from barbench.benchmarks.execution.executors.files import Followed
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.run_folder import RunFolder
from barbench.errors import UsageError
from barbench.spec.cluster import Cluster

GRACE = 120.0  # seconds that a worker has for the step under way and its checkpoint


class Ray:
    """Executor of a Ray cluster.

    Args:
        cluster: what a cell asks of it.
        gpus: of a cell.
        cells_at_once: that are given to Ray at a time at most; None: all.

    Raises:
        UsageError: without Ray, without a cluster at the address, and where no node of it can hold a cell.
    """

    name: ClassVar[str] = "ray"
    settles_on_host: ClassVar[bool] = True
    default_retries: ClassVar[int] = 2  # hosts come and go
    detaches: ClassVar[bool] = False

    def __init__(self, cluster: Cluster, gpus: int, cells_at_once: int | None = None) -> None:
        try:
            self._ray: Any = import_module("ray")
        except ImportError:
            raise UsageError("--executor ray needs Ray: pip install 'barbench[ray]'") from None
        self.cluster, self.gpus, self.slots = cluster, gpus, cells_at_once
        self._tasks: dict[Any, Attempt] = {}
        self._waiting: list[Attempt] = []
        self._stopped: list[Told] = []
        self._connect()
        self._check()

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
        address = self.cluster.address
        if address != "local":
            quiet |= {"address": address}
            quiet.pop("include_dashboard")
        hears = signal.getsignal(signal.SIGTERM)
        try:
            _look_for(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
            self._ray.init(**quiet)
        except (OSError, RuntimeError, ValueError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UsageError(
                f"--executor ray: no cluster at {address} ({first}); `ray start --head` begins one, and "
                "--cluster address=local one for this command"
            ) from None
        finally:
            signal.signal(signal.SIGTERM, hears)  # Ray's own would end the command without a word to the cells

    def _check(self) -> None:
        """Some one node must hold a cell: what all of them have together says nothing."""
        wanted = {"CPU": float(self.cluster.cpus), "GPU": float(self.gpus)}
        if self.cluster.memory_gb is not None:
            wanted["memory"] = self.cluster.memory_gb * 2**30
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if self.cluster.autoscale or any(all(n.get(k, 0.0) >= v for k, v in wanted.items()) for n in nodes):
            return
        there = "; ".join(dict.fromkeys(_in_words(node) for node in nodes))
        self._ray.shutdown()
        raise UsageError(f"no node of the Ray cluster can hold a cell with {_in_words(wanted)}; they have {there}")

    def start(self, run: RunFolder, lock: int) -> None:
        """Tasks know the run by its folder alone."""
        self._run, self._followed = run, Followed(run)
        options: dict[str, Any] = {"num_cpus": self.cluster.cpus, "num_gpus": self.gpus, "max_retries": 0}
        if self.cluster.memory_gb is not None:
            options["memory"] = self.cluster.memory_gb * 2**30
        self._task = self._ray.remote(**options)(task)

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """In this order."""
        self._waiting += attempts
        self._fill()

    def _fill(self) -> None:
        while self._waiting and (self.slots is None or len(self._tasks) < self.slots):
            attempt = self._waiting.pop(0)
            self._tasks[self._task.remote(attempt.model_dump_json(), self.cluster.cpus)] = attempt

    def adopt(self) -> dict[str, int]:
        """None: Ray ended them with the command that began them."""
        return {}

    def poll(self, seconds: float) -> list[Told]:
        """What the cells said, then the ends of tasks."""
        over, _ = self._ray.wait(list(self._tasks), timeout=seconds, num_returns=1) if self._tasks else ([], [])
        cells = {attempt.cell for attempt in self._tasks.values()}
        found = [told for told in self._followed.new(cells) if not isinstance(told[1], Ended)] + self._stopped
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
            return Ended("out-of-memory", "Ray ended the task for want of memory", attempt.number)
        except errors.RayError as error:
            return Ended("lost", f"its task is gone ({type(error).__name__})", attempt.number)

    def alive(self) -> set[str]:
        """Those of which Ray has not said that they ended."""
        return {attempt.cell for attempt in self._tasks.values()}

    def stop(self) -> None:
        """Those that run look at the run's folder; those that wait find it there, too."""
        self._run.ask_to_stop()
        self._stopped += [(a.cell, Ended("stopped", "it was not begun", a.number)) for a in self._waiting]
        self._waiting = []

    def close(self) -> None:
        """End what is left; a cluster that was there before stays."""
        for reference in self._tasks:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    @staticmethod
    def states(jobs: Sequence[str]) -> dict[str, State]:
        """None: the run's folder names no jobs."""
        return {}

    @staticmethod
    def cancel_waiting(jobs: Sequence[str]) -> None:
        """Nothing: tasks end with the command that submitted them."""


def _look_for(address: str) -> None:
    """Raise OSError where nobody listens, for which Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "://" not in address:
        socket.create_connection((host, int(port)), timeout=5.0).close()


def _in_words(resources: Mapping[str, float]) -> str:
    cores, gpus = (round(resources.get(name, 0.0)) for name in ("CPU", "GPU"))
    memory = f", {resources['memory'] / 2**30:.0f} GB of memory" if "memory" in resources else ""
    return f"{cores} core{'s' * (cores != 1)}, {gpus} GPU{'s' * (gpus != 1)}{memory}"


def task(text: str, cores: int) -> tuple[Any, ...]:
    """What a node runs: one attempt."""
    attempt = Attempt.model_validate_json(text)
    ended = perform(attempt, Wish(), slot=Slot(cores=cores), grace=GRACE)
    tell_end(attempt, ended)
    return tuple(ended)
