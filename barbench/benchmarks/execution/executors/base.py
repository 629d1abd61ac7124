"""What an executor is: it decides where and when an attempt at a cell runs, and reports how it ended."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from barbench.benchmarks.execution.attempt import Attempt
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.outcome import Ended
from barbench.benchmarks.execution.run_folder import Events, RunFolder
from barbench.spec.cluster import Cluster

CellEvent = tuple[str, Mapping[str, Any] | Ended]
"""A cell's id, and an event of it or its end."""

State = Literal["waiting", "running", "gone"]
"""Of a job in a cluster's queue."""


class Placement(NamedTuple):
    """What is known of where cells run before they are there.

    Attributes:
        threads: of each process; 0: chosen on the host where it runs.
        slots: shares of this host, one per cell that runs at a time; empty where a cluster decides that.
    """

    device: str
    threads: int
    slots: tuple[Slot, ...] = ()


class Executor(Protocol):
    """Runs attempts. After `start`, all methods are called by one thread.

    Attributes:
        slots: cells at a time; None where the cluster decides that.
        settles_on_host: device, threads, cache, data and weights of a cell are chosen on the host where it runs, which
            may have another copy of barbench; else by the command, on its own host.
        default_retries: how often a cell that is lost is tried again where the user says nothing.
        detaches: cells continue to run when the command that submitted them has ended.
    """

    name: ClassVar[str]
    settles_on_host: ClassVar[bool]
    default_retries: ClassVar[int]
    detaches: ClassVar[bool]
    slots: int | None

    @classmethod
    def make(cls, placement: Placement, cluster: Cluster, gpus: int, cells_at_once: int | None) -> "Executor":
        """One for cells of that placement, with so many GPUs each; UsageError where it can never run them."""

    def start(self, run: RunFolder, lock: int) -> None:
        """Get ready. Workers on this host inherit the descriptor `lock`."""

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Have them run, in this order as far as there is one."""

    def adopt(self) -> dict[str, int]:
        """Follow what an earlier process of this run submitted; the number of the attempt at each cell that waits or
        runs, by the cell's id. By default none: cells end with the process that began them."""
        return {}

    def poll(self, seconds: float) -> list[CellEvent]:
        """What happened, in order for each cell; waits for it at most so long."""

    def alive(self) -> set[str]:
        """The ids of the cells that were submitted and have not ended."""

    def stop(self) -> None:
        """Ask every cell to keep a checkpoint and end; `poll` reports when they have."""

    def close(self) -> None:
        """End whatever still runs, at once."""

    @staticmethod
    def states(jobs: Sequence[str]) -> dict[str, State] | None:
        """The state of each job that a run's folder names, by the job's id, as any process may ask for it; `gone` for
        those that the queue does not know. None where it does not answer. By default a run's folder names no jobs."""
        return {}

    @staticmethod
    def cancel_waiting(jobs: Sequence[str]) -> None:
        """Take those of these jobs that have not begun out of the queue, where there is one outside the command."""
        return


class EventReader:
    """Reads the events of cells that run elsewhere from the run's folder."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._files: dict[str, Events] = {}

    def new(self, cells: Iterable[str]) -> list[CellEvent]:
        """The events of `cells` since the last call."""
        found: list[CellEvent] = []
        for cell in list(cells):
            file = self._files.setdefault(cell, self._run.events(cell))
            for event in file.new():
                if event["event"] == "ended":
                    reason = event.get("reason", event.get("said", ""))  # the second is an earlier version's
                    found.append((cell, Ended(event["how"], reason, event["number"])))
                else:
                    found.append((cell, event))
        return found

    def skip(self, cell: str) -> Ended | None:
        """Skip the events of a cell so far; how its last attempt ended, None where another has begun since."""
        last = None
        for _, event in self.new([cell]):
            if isinstance(event, Ended):
                last = event
            elif event["event"] == "attempt":
                last = None
        return last
