"""What an executor is: it decides where and when an attempt at a cell runs, and tells how it ended."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from barbench.benchmarks.execution.run_folder import FOLDER, RunFolder
from barbench.benchmarks.job import Job

How = Literal["done", "failed", "out-of-memory", "stopped", "lost", "refused", "unwritable"]


class Attempt(BaseModel):
    """One try of one cell, as it travels to where it runs.

    Attributes:
        job: the cell. What belongs to a host may still be open in it; `site.settle` fills it in there.
        run: id of the run; its folder must be there.
        number: 1 for the first attempt of the run, larger for each later one.
        executor: name of the executor.
        halve: a cell that does not fit in memory gives way to one with half the micro-batch.
        code: of the run, which must be that of the host; None: the same by itself.
    """

    model_config = ConfigDict(frozen=True)

    job: Job
    run: str
    number: int = 1
    executor: str = "local"
    halve: bool = False
    code: str | None = None

    @property
    def cell(self) -> str:
        """The cell's id."""
        return self.job.cell.id()

    @property
    def folder(self) -> RunFolder:
        """The run's, as this host sees it."""
        return RunFolder(self.job.results / FOLDER / self.run)


class Ended(NamedTuple):
    """How an attempt ended.

    `done` and `failed`: its record says more. `out-of-memory`: the system ended it. `stopped`: it was asked to; there
    is a checkpoint where it was training. `lost`: it died, without a fault of the cell. `refused`: this host cannot
    run it. `unwritable`: nothing can be kept in the results folder.
    """

    how: How
    said: str = ""
    number: int = 0


Told = tuple[str, Mapping[str, Any] | Ended]  # a cell's id, and an event of it or its end


State = Literal["waiting", "running", "gone"]


class Executor(Protocol):
    """Runs attempts. After `start`, all methods are called by one thread.

    Attributes:
        name: as `--executor` has it.
        settles_on_host: device, threads, cache, data and weights of a cell are chosen on the host where it runs, which
            may have another copy of barbench; else by the command, on its own host.
        default_retries: how often a cell that is lost is tried again where the user says nothing.
        detaches: cells run on when the command that submitted them has ended.
    """

    name: ClassVar[str]
    settles_on_host: ClassVar[bool]
    default_retries: ClassVar[int]
    detaches: ClassVar[bool]

    @property
    def slots(self) -> int | None:
        """Cells at a time; None where the cluster decides that."""

    def start(self, run: RunFolder, lock: int) -> None:
        """Get ready. Workers on this host inherit the descriptor `lock`."""

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Have them run, in this order as far as there is one."""

    def adopt(self) -> dict[str, int]:
        """Listen to what an earlier process of this run submitted: the number of the attempt at each cell that waits or
        runs."""

    def poll(self, seconds: float) -> list[Told]:
        """What happened, in order for each cell; waits for it at most so long."""

    def alive(self) -> set[str]:
        """The ids of the cells that were submitted and have not ended."""

    def stop(self) -> None:
        """Ask every cell to keep a checkpoint and end; `poll` tells when they have."""

    def close(self) -> None:
        """End whatever is still there, at once."""

    @staticmethod
    def states(jobs: Sequence[str]) -> dict[str, State]:
        """The state of each job that a run's folder names, by the job's id, as any process may ask for it; those that
        are not known are left out."""

    @staticmethod
    def cancel_waiting(jobs: Sequence[str]) -> None:
        """Take those of these jobs that have not begun out of the queue."""
