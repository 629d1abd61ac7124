"""One try of one cell, on the host where it runs; the same for every executor.

It checks that the host is right, takes the cell's lease, and runs the worker, whose standard input it holds: when it
dies, the worker ends. What it leaves is in files: a record, or a checkpoint, and what the cell said.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from filelock import Timeout

from barbench.benchmarks.execution.executors.base import Attempt, Ended
from barbench.benchmarks.execution.host.lock import LEASE_SECONDS, lease_on
from barbench.benchmarks.execution.host.source import code_hash
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.worker.exits import FULL
from barbench.benchmarks.execution.worker.process import GRACE, death, run_worker
from barbench.benchmarks.job import Job, Seen
from barbench.files import host_id
from barbench.results.record import AttemptLog
from barbench.results.store import Store

LOOK_SECONDS = 1.0  # between two looks at whether a file asks to stop

Tell = Callable[[Mapping[str, Any]], None]


class Wish:
    """What an attempt is asked to do: `stop` with a checkpoint, and if that takes too long `kill` it."""

    def __init__(self) -> None:
        self.stop, self.kill = threading.Event(), threading.Event()


def nobody(event: Mapping[str, Any]) -> None:
    """For executors whose driver reads the events from the run's folder."""


def perform(
    attempt: Attempt, wish: Wish, tell: Tell = nobody, slot: Slot = Slot(), lock: int = -1, grace: float = GRACE
) -> Ended:
    """Run the cell to its record, or until it is asked to stop.

    Args:
        attempt: what to run.
        wish: whether to stop; the run's folder may say so too.
        tell: hears every event at once; the run's folder keeps them in any case.
        slot: the share of this host.
        lock: a descriptor that the worker inherits; negative: none.
        grace: seconds that the worker has to end the step under way and write its checkpoint.

    Returns:
        How it ended. Whoever calls this tells it (`tell_end`), unless the cell goes on elsewhere.
    """
    events = attempt.folder.events(attempt.cell)

    def both(event: Mapping[str, Any]) -> None:
        events.add(event)
        tell(event)

    return _Attempt(attempt, wish, both, slot, lock, grace).run()


def tell_end(attempt: Attempt, ended: Ended) -> None:
    """Keep in the run's folder how an attempt ended."""
    attempt.folder.events(attempt.cell).add({"event": "ended", **ended._asdict()})


class _Attempt:
    """What the parts of an attempt share."""

    def __init__(self, attempt: Attempt, wish: Wish, tell: Tell, slot: Slot, lock: int, grace: float) -> None:
        self.attempt, self.wish, self.tell, self.slot = attempt, wish, tell, slot
        self.lock, self.grace = lock, grace
        self.store, self.run_folder = Store(attempt.job.results), attempt.folder
        self.compromised = threading.Event()
        self._looked, self._asked = 0.0, False

    def run(self) -> Ended:
        if not self.run_folder.exists():
            return self.ended("refused", f"{self.run_folder.path} is not there: this host has another results folder")
        if self.attempt.code not in (None, code_hash(self.attempt.job.cell.method)):
            return self.ended("refused", "the code of barbench here is not that of the run")
        self.run_folder.folder(self.attempt.cell).mkdir(exist_ok=True)
        if self.asked():
            return self.ended("stopped", "it was not begun")
        job = self.attempt.job.model_copy(update={"cores": self.slot.cores})
        job.scratch.mkdir(parents=True, exist_ok=True)
        lease = lease_on(job.lease, lambda _: self.compromised.set())
        try:
            lease.acquire(timeout=1.5 * LEASE_SECONDS, poll_interval=0.5, cancel_check=self.asked)
        except Timeout:
            return self.ended("stopped" if self.asked() else "lost", "another attempt at this cell is alive")
        try:
            return self._settle(job)
        except OSError as error:
            if error.errno not in FULL:
                raise
            return self.ended("unwritable", error.strerror or str(error))
        finally:
            lease.release()

    def ended(self, how: Any, said: str = "") -> Ended:
        return Ended(how, said, self.attempt.number)

    def asked(self) -> bool:
        """Whether somebody wants the cell to stop; files are looked at once a second."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked, self._asked = time.monotonic(), self.run_folder.asked_to_stop(self.attempt.cell)
        return self._asked or self.wish.stop.is_set() or self.compromised.is_set()

    def _settle(self, job: Job) -> Ended:
        """Run the cell, or the one that it gives way to. What did not fit before is not tried again where it may be
        halved."""
        smaller, record = job.halved() if self.attempt.halve else None, self.store.load(job.cell)
        if record is None or (record.status != "done" and (smaller is None or record.status != "out-of-memory")):
            ended = self._run_one(job)
            record = self.store.load(job.cell) if ended.how in ("done", "failed", "lost") else None
            if record is None:
                return ended
        else:
            ended = self.ended("done" if record.status == "done" else "failed")
        if smaller is None or record.status != "out-of-memory":
            return ended
        text = f"{record.reason}; now with {smaller.cell.recipe['accumulate']} micro-batches a batch"
        self.tell({"event": "note", "text": text})
        return self._settle(smaller)

    def _run_one(self, job: Job) -> Ended:
        """The worker from start to end; where it died without a record, one is left that says so."""
        for stale in (self.store.path(job.cell), job.traceback):  # of an earlier failure
            stale.unlink(missing_ok=True)
        log = self._begin(job)
        self.tell({"event": "attempt", "number": log[-1].number, "host": log[-1].host})
        job = job.model_copy(update={"attempts": log, "place": {"neighbours": self.slot.neighbours}})
        begun, seen = time.monotonic(), Seen()

        def heard(event: Mapping[str, Any]) -> None:
            seen.hear(event)
            self.tell(event)

        folder = self.run_folder.folder(self.attempt.cell)
        died = run_worker(job, folder, heard, self.asked, self.wish.kill, self.slot.gpus, self.lock, self.grace)
        record = self.store.load(job.cell)
        if died.left is not None and died.left[0] != "stopped":
            ended = self.ended(*died.left)
        elif record is not None:
            ended = self.ended("done" if record.status == "done" else "failed")
        elif self.compromised.is_set():
            ended = self.ended("lost", "another attempt took the cell over")
        elif self.asked():
            ended = self.ended("stopped", "it was asked to stop")
        else:
            status, reason = death(died)
            record = job.failure(status, reason, died.peak_bytes)
            self.store.save(record)
            by_signal = died.code < 0 and status == "failed"
            ended = self.ended("lost" if by_signal or died.left else "failed", reason)
        if record is not None and record.status == "failed" and "Traceback" in died.said:
            job.traceback.write_text(died.said)
        if ended.how == "done":
            for path in (job.attempts_file, job.checkpoint):
                path.unlink(missing_ok=True)
        else:
            last = seen.complete(log[-1], ended.how, time.monotonic() - begun)
            job.write_attempts((*log[:-1], last))
        return ended

    def _begin(self, job: Job) -> tuple[AttemptLog, ...]:
        """The attempts of before, and this one, which counts as lost until it has ended."""
        earlier = job.read_attempts()
        own = AttemptLog(number=len(earlier) + 1, executor=self.attempt.executor, host=host_id(), how="lost")
        job.write_attempts((*earlier, own))
        return (*earlier, own)
