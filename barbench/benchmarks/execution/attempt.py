"""One try of one cell, on the host where it runs; the same for every executor.

It checks the host, takes the cell's lease, and runs the worker, whose standard input it holds open: when this process
dies, the worker ends. It leaves a record or a checkpoint, and the cell's events, as files.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from filelock import Timeout
from pydantic import BaseModel, ConfigDict

from barbench.benchmarks.execution.host.lock import LEASE_SECONDS, lease_on
from barbench.benchmarks.execution.host.source import code_hash
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.outcome import Ended, How, explain_death, how_of, is_lost
from barbench.benchmarks.execution.run_folder import FOLDER, RunFolder
from barbench.benchmarks.execution.worker.process import GRACE_SECONDS, WorkerExit, run_worker
from barbench.benchmarks.execution.worker.signals import CANNOT_WRITE
from barbench.benchmarks.job import AttemptProgress, Job
from barbench.files import host_id
from barbench.results.record import AttemptLog, Record
from barbench.results.store import Store

LOOK_SECONDS: Final = 1.0
"""Between two looks at whether a file asks the cell to stop."""

OnEvent = Callable[[Mapping[str, Any]], None]


class Attempt(BaseModel):
    """One try of one cell, as it is sent to the host that runs it.

    Attributes:
        job: the cell. What depends on a host may still be open in it; `resolve_on_host` fills it in there.
        number: 1 for the first attempt of the run, larger for each later one.
        halve: run a cell that does not fit in memory again with half the micro-batch.
        code: hash of the run's code, which must be the host's; None: not checked.
    """

    model_config = ConfigDict(frozen=True)

    job: Job
    run: str
    executor: str
    number: int = 1
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


class StopRequest:
    """What an attempt is asked to do: `stop` with a checkpoint, or `kill` the worker where that takes too long."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.kill = threading.Event()


def ignore_event(event: Mapping[str, Any]) -> None:
    """For executors whose driver reads the events from the run's folder."""


def perform(
    attempt: Attempt,
    request: StopRequest,
    on_event: OnEvent = ignore_event,
    slot: Slot = Slot(),
    lock: int = -1,
    grace: float = GRACE_SECONDS,
) -> Ended:
    """Run the cell to its record, or until it is asked to stop, by `request` or by a file in the run's folder.

    Args:
        on_event: called with every event at once; the run's folder keeps them in any case.
        lock: a descriptor that the worker inherits; negative: none.
        grace: seconds that the worker has to end the step under way and write its checkpoint.

    Returns:
        How it ended. The caller reports it (`report_end`), unless the cell resumes elsewhere.
    """
    events = attempt.folder.events(attempt.cell)

    def keep_and_report(event: Mapping[str, Any]) -> None:
        events.add(event)
        on_event(event)

    return _Attempt(attempt, request, keep_and_report, slot, lock, grace).run()


def report_end(attempt: Attempt, ended: Ended) -> None:
    """Keep in the run's folder how an attempt ended."""
    attempt.folder.events(attempt.cell).add({"event": "ended", **ended._asdict()})


@dataclass
class _Attempt:
    """What the steps of an attempt share."""

    attempt: Attempt
    request: StopRequest
    on_event: OnEvent
    slot: Slot
    lock: int
    grace: float

    def __post_init__(self) -> None:
        self.store = Store(self.attempt.job.results)
        self.run_folder = self.attempt.folder
        self.lease_lost = threading.Event()
        self._looked = 0.0
        self._file_asks = False

    def run(self) -> Ended:
        # Whether this host has the run's results folder and code.
        if not self.run_folder.exists():
            return self.ended("refused", f"{self.run_folder.path} is not there: this host has another results folder")
        if self.attempt.code not in (None, code_hash(self.attempt.job.cell.method)):
            return self.ended("refused", "the code of barbench here is not that of the run")
        self.run_folder.folder(self.attempt.cell).mkdir(exist_ok=True)
        if self.asked():
            return self.ended("stopped", "it had not begun")

        # One attempt at a time: the lease of one that died ends by itself.
        job = self.attempt.job.model_copy(update={"cores": self.slot.cores})
        job.scratch.mkdir(parents=True, exist_ok=True)
        lease = lease_on(job.lease, lambda _: self.lease_lost.set())
        try:
            lease.acquire(timeout=1.5 * LEASE_SECONDS, poll_interval=0.5, cancel_check=self.asked)
        except Timeout:
            return self.ended("stopped" if self.asked() else "lost", "another attempt at this cell is alive")
        try:
            return self._run_or_halve(job)
        except OSError as error:
            if error.errno not in CANNOT_WRITE:
                raise
            return self.ended("unwritable", error.strerror or str(error))
        finally:
            lease.release()

    def ended(self, how: How, reason: str = "") -> Ended:
        return Ended(how, reason, self.attempt.number)

    def asked(self) -> bool:
        """Whether the cell should stop; files are looked at once a second."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            self._file_asks = self.run_folder.asked_to_stop(self.attempt.cell)
        return self._file_asks or self.request.stop.is_set() or self.lease_lost.is_set()

    def _run_or_halve(self, job: Job) -> Ended:
        """Run the cell; where it may be halved and runs out of memory, the one with half the micro-batch instead."""
        smaller = job.halved() if self.attempt.halve else None
        record = self.store.load_to_write(job.cell)
        if self._must_run(record, smaller):
            ended = self._run_one(job)
            record = None
            if ended.how in ("done", "failed", "lost"):
                record = self.store.load(job.cell)
        else:
            assert record is not None
            ended = self.ended(how_of(record))
        if record is None or record.status != "out-of-memory" or smaller is None:
            return ended
        # It is another cell: batch norms see one micro-batch at a time.
        micro_batches = smaller.cell.recipe["accumulate"]
        self.on_event(
            {"event": "note", "text": f"{record.reason}; now each batch is split into {micro_batches} micro-batches"}
        )
        return self._run_or_halve(smaller)

    @staticmethod
    def _must_run(record: Record | None, smaller: Job | None) -> bool:
        """Failed cells are tried again; what did not fit before is not where it can be halved."""
        if record is None:
            return True
        if record.status == "out-of-memory" and smaller is not None:
            return False
        return record.status != "done"

    def _run_one(self, job: Job) -> Ended:
        """Run the worker from start to end; where it died without a record, write one that says so."""
        # What an earlier failure left must not be taken for this attempt's.
        self.store.path(job.cell).unlink(missing_ok=True)
        job.traceback.unlink(missing_ok=True)

        logs = self._begin(job)
        # The record's name: that of a cell with smaller micro-batches is another one.
        begins = {"event": "attempt", "number": logs[-1].number, "host": logs[-1].host, "record": job.cell.stem()}
        self.on_event(begins)
        job = job.model_copy(update={"attempts": logs, "neighbours": self.slot.neighbours})
        begun = time.monotonic()
        progress = AttemptProgress()

        def on_event(event: Mapping[str, Any]) -> None:
            progress.add(event)
            self.on_event(event)

        worker = run_worker(
            job,
            self.run_folder.folder(self.attempt.cell),
            on_event,
            self.asked,
            self.request.kill,
            self.slot.gpus,
            self.lock,
            self.grace,
        )
        ended = self._ended_by(job, worker)
        record = self.store.load(job.cell)
        if record is not None and record.status == "failed" and "Traceback" in worker.stderr:
            job.traceback.write_text(worker.stderr)

        # The log of the attempts is kept as long as another attempt may follow; a record of `done` holds them all.
        if ended.how == "done":
            job.attempts_file.unlink(missing_ok=True)
            job.remove_unfinished()
        else:
            last = progress.complete(logs[-1], ended.how, time.monotonic() - begun)
            job.write_attempts((*logs[:-1], last))
        return ended

    def _ended_by(self, job: Job, worker: WorkerExit) -> Ended:
        """How the attempt ended: by what its worker announced, else the record, else who asked it to stop."""
        if worker.announced is not None and worker.announced.how != "stopped":
            return self.ended(worker.announced.how, worker.announced.reason)
        # Else its record tells, where it was written.
        record = self.store.load(job.cell)
        if record is not None:
            return self.ended(how_of(record))
        if self.lease_lost.is_set():
            return self.ended("lost", "another attempt took the cell over")
        if self.asked():
            return self.ended("stopped", "it was asked to stop")
        # It died, and only traces tell why.
        status, reason = explain_death(worker)
        self.store.save(job.failure(status, reason, worker.peak_bytes))
        return self.ended("lost" if is_lost(worker, status) else "failed", reason)

    def _begin(self, job: Job) -> tuple[AttemptLog, ...]:
        """The earlier attempts, and this one, which counts as lost until it has ended."""
        earlier = job.read_attempts()
        own = AttemptLog(number=len(earlier) + 1, executor=self.attempt.executor, host=host_id(), how="lost")
        job.write_attempts((*earlier, own))
        return (*earlier, own)
