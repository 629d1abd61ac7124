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
from barbench.benchmarks.execution.worker.signals import CANNOT_WRITE, EXIT_WITHOUT_RECORD, StopSignal, exit_event
from barbench.benchmarks.execution.worker.trackers import Tracked
from barbench.benchmarks.job import AttemptProgress, Job
from barbench.engine import profile
from barbench.errors import BarbenchError, Interrupted, UsageError
from barbench.results.store import Store

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


def main(path: Path) -> int:
    """Run the cell of the job in the JSON file `path`, and write its record.

    Returns:
        Exit code: 0 with a record, 1 with the record of a failure, EXIT_WITHOUT_RECORD without one; an event says why.
    """
    stop = StopSignal()
    stop.listen()
    job = Job.model_validate_json(path.read_text("utf-8"))

    # Events have the standard output for themselves: whatever else prints there goes to the standard error.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    threading.Thread(target=_end_with_runner, daemon=True).start()

    begun = time.monotonic()
    progress = AttemptProgress()
    is_first = os.environ.get("RANK", "0") == "0"
    tracked = Tracked(job, lambda text: emit({"event": "note", "text": text}))

    def emit(event: dict[str, Any]) -> None:
        progress.add(event)
        if is_first:
            events.write(json.dumps(event) + "\n")
            tracked.add(event)

    try:
        job = resolve_on_host(job)
    except UsageError as error:
        emit(exit_event("refused", str(error)))
        return EXIT_WITHOUT_RECORD
    store = Store(job.results)

    def fail(status: Literal["failed", "out-of-memory"], reason: str) -> int:
        peak = profile.peak(torch.device(job.place.device)).bytes
        store.save(job.failure(status, reason, peak))
        emit({"event": "failed", "status": status, "reason": reason})
        return 1

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = run_cell(job, emit, stop.at_steps)
        if result is not None:  # one process of a cell with several has it
            record, arrays = result
            attempts = list(job.attempts)
            if attempts:
                attempts[-1] = progress.complete(attempts[-1], "done", time.monotonic() - begun)
            store.save(record.model_copy(update={"attempts": tuple(attempts)}), arrays)
            job.checkpoint.unlink(missing_ok=True)
            tracked.end(record)
            emit({"event": "done"})
        return 0
    except (KeyboardInterrupt, Interrupted):
        emit(exit_event("stopped"))
        return EXIT_WITHOUT_RECORD
    except BarbenchError as error:
        return fail("failed", _message(error))
    except Exception as error:
        if is_out_of_memory(error):
            return fail("out-of-memory", str(error) or "out of memory")
        traceback.print_exc()
        if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
            emit(exit_event("unwritable", str(error.strerror)))
            return EXIT_WITHOUT_RECORD
        return fail("failed", f"{type(error).__name__}: {error}")
    finally:
        tracked.close()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: by Python's and torch's own types, or by the words of a library below torch."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return any(words in text for words in _OUT_OF_MEMORY)


def _message(error: BarbenchError) -> str:
    """The message alone: torch puts the traceback of a loading process in front of it."""
    text = str(error)
    if "Traceback" not in text:
        return text
    return text.rpartition(f"{type(error).__name__}: ")[2].strip()


def _end_with_runner() -> None:
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read(): a loader forked meanwhile could never take its lock
    os._exit(3)
