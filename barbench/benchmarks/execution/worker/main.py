"""One cell in a process of its own, which `start.py` begins.

Progress leaves as JSON lines on the standard output. The record is written here, a failure's too, so that it exists
once the process has ended. When the runner dies, standard input closes, and the worker ends with it. SIGTERM, or
SIGUSR2, makes it write a checkpoint and end.
"""

import json
import os
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Literal

import torch

from barbench.benchmarks.cell import run_cell
from barbench.benchmarks.execution.host.resolve import settle
from barbench.benchmarks.execution.worker.exits import FULL, LEFT, leaving
from barbench.benchmarks.execution.worker.no_memory import ran_out
from barbench.benchmarks.execution.worker.signals import Stop
from barbench.benchmarks.execution.worker.trackers import Tracked
from barbench.benchmarks.job import Job, Seen
from barbench.engine import profile
from barbench.errors import BarbenchError, Interrupted, UsageError
from barbench.results.store import Store


def main(path: Path) -> int:
    """Run one cell and write its record.

    Args:
        path: of the job as JSON.

    Returns:
        Exit code: 0 with a record, 1 with the record of a failure, LEFT without one; an event says why.
    """
    stop = Stop()
    stop.listen()
    job = Job.model_validate_json(path.read_text("utf-8"))
    first = int(os.environ.get("RANK", "0")) == 0
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else prints does not mix with the events
    threading.Thread(target=_end_with_runner, daemon=True).start()

    begun, seen = time.monotonic(), Seen()
    tracked = Tracked(job, lambda text: emit({"event": "note", "text": text}))

    def emit(event: dict[str, Any]) -> None:
        seen.hear(event)
        if first:
            events.write(json.dumps(event) + "\n")
            tracked.hear(event)

    store = Store(job.results)
    try:
        job = settle(job)
    except UsageError as error:
        emit(leaving("refused", str(error)))
        return LEFT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = run_cell(job, emit, stop)
        if result is not None:
            record, arrays = result
            last = [seen.complete(log, "done", time.monotonic() - begun) for log in job.attempts[-1:]]
            store.save(record.model_copy(update={"attempts": (*job.attempts[:-1], *last)}), arrays)
            job.checkpoint.unlink(missing_ok=True)
            tracked.end(record)
            emit({"event": "done"})
        return 0
    except (KeyboardInterrupt, Interrupted):
        emit(leaving("stopped"))
        return LEFT
    except BarbenchError as error:
        return _fail(store, job, "failed", _own_words(error), emit)
    except Exception as error:
        if ran_out(error):
            return _fail(store, job, "out-of-memory", str(error) or "out of memory", emit)
        traceback.print_exc()
        if isinstance(error, OSError) and error.errno in FULL:
            emit(leaving("unwritable", str(error.strerror)))
            return LEFT
        return _fail(store, job, "failed", f"{type(error).__name__}: {error}", emit)
    finally:
        tracked.close()


def _fail(store: Store, job: Job, status: Literal["failed", "out-of-memory"], reason: str, emit: Any) -> int:
    store.save(job.failure(status, reason, profile.peak(torch.device(job.device)).bytes))
    emit({"event": "failed", "status": status, "reason": reason})
    return 1


def _own_words(error: BarbenchError) -> str:
    """The message alone: torch puts a loading process's traceback in front of it."""
    return str(error).rpartition(f"{type(error).__name__}: ")[2].strip() if "Traceback" in str(error) else str(error)


def _end_with_runner() -> None:
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read(): a loader forked meanwhile could never take its lock
    os._exit(3)
