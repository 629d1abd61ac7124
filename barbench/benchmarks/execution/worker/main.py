"""One cell in a process of its own, which `start.py` begins.

Events leave as JSON lines on the standard output. The record is written here, a failure's too, so that it exists once
the process has ended. When the runner dies, standard input closes, and the worker ends. SIGTERM, or SIGUSR2, makes it
write a checkpoint and end.
"""

import json
import os
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Final, Literal

import torch

from barbench.benchmarks.cell import run_cell
from barbench.benchmarks.execution.host.resolve import resolve_on_host
from barbench.benchmarks.execution.worker.signals import (
    CANNOT_WRITE,
    EXIT_WITHOUT_RECORD,
    ExitReason,
    StopSignal,
    exit_event,
)
from barbench.benchmarks.execution.worker.trackers import Tracked
from barbench.benchmarks.job import AttemptProgress, Job
from barbench.engine import profile
from barbench.errors import BarbenchError, Interrupted, UsageError
from barbench.results.record import Record
from barbench.results.store import Arrays, Store

_OUT_OF_MEMORY: Final = (
    "out of memory",  # CUDA's driver and runtime, and NCCL, which quotes them
    "cublas_status_alloc_failed",
    "calling `cublascreate(",  # cuBLAS without room for its workspace may also say "not initialized"
    "cudnn_status_alloc_failed",
    "cudnn_status_internal_error_host_allocation_failed",
    "cudnn_status_internal_error_device_allocation_failed",
    "can't allocate memory",  # torch's CPU allocator
    "could not create a primitive",  # oneDNN
)
"""How each library below torch words it, in lower case."""
_WAITED: Final = ("timed out waiting", "timeout waiting", "timed out after", "wait timeout")
"""How Gloo, NCCL and torch's store say that a process waited too long for another one, in lower case."""
_GAVE_UP: Final = (
    "a process waited {minutes:g} minutes for another one of the cell, which is slow or has ended; the same command "
    "resumes from the checkpoint, and --process-timeout changes how long it waits"
)


def main(path: Path) -> int:
    """Run the cell of the job in the JSON file `path`, and write its record.

    Returns:
        Exit code: 0 with a record, 1 with the record of a failure, EXIT_WITHOUT_RECORD without one; an event says why.
    """
    stop = StopSignal()
    stop.listen()
    job = Job.model_validate_json(path.read_text("utf-8"))
    reporter = _Reporter(job)
    threading.Thread(target=_end_with_runner, daemon=True).start()

    try:
        job = resolve_on_host(job)
    except UsageError as error:
        return reporter.leave("refused", str(error))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = run_cell(job, reporter.emit, stop.at_steps)
        # Of a cell with several processes, one has the result.
        if result is not None:
            reporter.publish(job, *result)
        return 0
    except (KeyboardInterrupt, Interrupted):
        return reporter.leave("stopped")
    except BarbenchError as error:
        return reporter.fail(job, "failed", _message(error))
    except Exception as error:
        if is_out_of_memory(error):
            return reporter.fail(job, "out-of-memory", want_of_memory(error))
        # The runner keeps the traceback of a failed cell from the standard error.
        traceback.print_exc()
        if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
            return reporter.leave("unwritable", str(error.strerror))
        if job.cell.processes > 1 and waited_too_long(error):
            return reporter.fail(job, "failed", _GAVE_UP.format(minutes=job.place.process_timeout))
        return reporter.fail(job, "failed", f"{type(error).__name__}: {error}")
    finally:
        reporter.tracked.close()


class _Reporter:
    """What leaves this process: events, which only the first of several processes writes, and the record."""

    def __init__(self, job: Job) -> None:
        self._begun = time.monotonic()
        self._progress = AttemptProgress()
        self._is_first = os.environ.get("RANK", "0") == "0"
        # Events have the standard output for themselves: whatever else prints there goes to the standard error.
        self._events = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self.tracked = Tracked(job, lambda text: self.emit({"event": "note", "text": text}))

    def emit(self, event: dict[str, Any]) -> None:
        self._progress.add(event)
        if self._is_first:
            self._events.write(json.dumps(event) + "\n")
            self.tracked.add(event)

    def publish(self, job: Job, record: Record, arrays: Arrays) -> None:
        """Write the record of a finished cell; its checkpoint and partial scores are not needed any longer."""
        attempts = list(job.attempts)
        if attempts:
            attempts[-1] = self._progress.complete(attempts[-1], "done", time.monotonic() - self._begun)
        Store(job.results).save(record.model_copy(update={"attempts": tuple(attempts)}), arrays)
        job.remove_unfinished()
        self.tracked.end(record)
        self.emit({"event": "done"})

    def fail(self, job: Job, status: Literal["failed", "out-of-memory"], reason: str) -> int:
        """Write the record of a failure; the exit code."""
        peak = profile.peak(torch.device(job.place.device)).bytes
        Store(job.results).save(job.failure(status, reason, peak))
        self.emit({"event": "failed", "status": status, "reason": reason})
        return 1

    def leave(self, how: ExitReason, reason: str = "") -> int:
        """Announce an exit without a record; the exit code."""
        self.emit(exit_event(how, reason))
        return EXIT_WITHOUT_RECORD


def want_of_memory(error: BaseException) -> str:
    """What the record says of an error that is a want of memory: the library's words, behind ours where these do not
    speak of memory, as oneDNN's do."""
    text = str(error)
    if "memory" in text.lower():
        return text
    return f"out of memory: {text}" if text else "out of memory"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: by Python's and torch's own types, or by the words of a library below torch."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return any(words in text for words in _OUT_OF_MEMORY)


def waited_too_long(error: BaseException) -> bool:
    """Whether one of several processes gave up on another one, which is slow or has ended."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _WAITED)


def _message(error: BarbenchError) -> str:
    """The message alone: torch puts the traceback of a loading process in front of it."""
    text = str(error)
    if "Traceback" not in text:
        return text
    return text.rpartition(f"{type(error).__name__}: ")[2].strip()


def _end_with_runner() -> None:
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read(): a loader forked meanwhile could never take its lock
    os._exit(3)
