"""How an attempt at a cell ended, and what follows from how its worker ended."""

import signal
from typing import Literal, NamedTuple

from barbench.benchmarks.execution.worker.process import WorkerExit
from barbench.results.record import Record

How = Literal["done", "failed", "out-of-memory", "stopped", "lost", "refused", "unwritable"]


class Ended(NamedTuple):
    """How an attempt ended.

    Attributes:
        how: `done`, `failed`: its record says more. `out-of-memory`: the system ended it. `stopped`: it was asked to;
            there is a checkpoint where it was training. `lost`: it died without a fault of the cell. `refused`: this
            host cannot run it. `unwritable`: nothing can be written to the results folder.
        reason: why, in one line; empty where the record has it.
        number: of the attempt.
    """

    how: How
    reason: str = ""
    number: int = 0


def how_of(record: Record) -> How:
    """How the attempt ended that left `record`."""
    return "done" if record.status == "done" else "failed"


def explain_death(worker: WorkerExit) -> tuple[Literal["failed", "out-of-memory"], str]:
    """Status and reason for the record of a worker that left none."""
    # The system's OOM killer sends SIGKILL. Where its kills are counted and there was none, somebody else sent it.
    if worker.code == -signal.SIGKILL and worker.oom_kills != 0:
        cause = "probably out of memory" if worker.oom_kills is None else "out of memory"
        return "out-of-memory", f"the process was killed (signal 9), {cause}, at {worker.peak_bytes / 1e9:.2f} GB"
    if worker.announced is not None:
        return "failed", "the process was asked to stop; it resumes from its checkpoint"
    lines = worker.stderr.strip().splitlines()
    last = lines[-1] if lines else "no output"
    if worker.code < 0:
        return "failed", f"the process was ended by signal {-worker.code}: {last}"
    return "failed", f"the process ended with code {worker.code}: {last}"


def is_lost(worker: WorkerExit, status: str) -> bool:
    """Whether a worker that left no record may do better in another attempt: a signal ended it, not the cell."""
    return worker.announced is not None or (worker.code < 0 and status == "failed")
