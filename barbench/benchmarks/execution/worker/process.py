"""A worker as a process: started, its events read, asked to stop, and ended with the runner."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from barbench.benchmarks.execution.host.variables import worker_variables
from barbench.benchmarks.execution.worker.signals import TO_WORKERS, ExitReason
from barbench.benchmarks.job import Job

WORKER = "barbench.benchmarks.execution.worker.start"
GRACE_SECONDS: Final = 9.0
"""That a worker has to end the step under way and write its checkpoint."""
_STDERR_BYTES: Final = 100_000
"""Of the standard error, from its end, that are read."""


class Announced(NamedTuple):
    """Why a worker ended without a record, as it announced itself."""

    how: ExitReason
    reason: str


class WorkerExit(NamedTuple):
    """How a worker ended, whether or not it succeeded.

    Attributes:
        code: exit code; negative: the signal that ended it.
        announced: why it left no record; None where it did not say so.
        stderr: the end of its standard error.
        oom_kills: processes of this machine that the system killed for lack of memory while it ran; None where that is
            not counted.
    """

    code: int
    announced: Announced | None
    stderr: str
    peak_bytes: int
    oom_kills: int | None


def run_worker(
    job: Job,
    folder: Path,
    on_event: Callable[[dict[str, Any]], None],
    asked: Callable[[], bool],
    kill: threading.Event,
    gpus: Sequence[str] = (),
    lock: int = -1,
    grace: float = GRACE_SECONDS,
) -> WorkerExit:
    """Run the worker of one cell to its end.

    Args:
        folder: where its job and its standard error lie while it runs.
        on_event: called with its events, in a thread of their own.
        asked: looked at ten times a second: the worker should write a checkpoint and end.
        kill: end it at once.
        lock: a descriptor that it inherits, so that the results folder is free only once it has ended.
        grace: seconds between asking it and killing it.
    """
    # An exit without a record is for this process alone, all else for the display.
    kills_before = _oom_kills()
    announced: list[Announced] = []
    over = threading.Event()

    def sort_event(event: dict[str, Any]) -> None:
        if event["event"] == "exit":
            announced.append(Announced(event["how"], event["reason"]))
        else:
            on_event(event)

    job_file = folder / "job.json"
    job_file.write_text(job.model_dump_json())
    log = folder / "stderr"
    with log.open("wb") as errors, closing(Worker(_command(job, job_file.resolve()), errors, lock, gpus)) as worker:
        reader = threading.Thread(target=_read_events, args=(worker, sort_event), daemon=True)
        watcher = threading.Thread(target=_watch, args=(worker, over, asked, kill, grace), daemon=True)
        reader.start()
        watcher.start()
        code, peak_bytes = worker.result()
        over.set()
        worker.close_input()  # processes whose launcher was killed end with it
        reader.join()
        watcher.join()

    # A launcher of several processes that is asked to stop while it starts dies of the signal and announces nothing.
    if -code in TO_WORKERS:
        announced.append(Announced("stopped", ""))
    reason = announced[-1] if announced and code else None
    stderr = log.read_bytes()[-_STDERR_BYTES:].decode(errors="replace")
    return WorkerExit(code, reason, stderr, peak_bytes, _kills_since(kills_before))


def _watch(
    worker: "Worker", over: threading.Event, asked: Callable[[], bool], kill: threading.Event, grace: float
) -> None:
    """Pass a request to stop on to the worker, and kill one that does not end in time."""
    limit: float | None = None
    while not over.wait(0.1):
        if limit is None and asked():
            worker.signal(signal.SIGTERM)
            limit = time.monotonic() + grace
        if kill.is_set() or (limit is not None and time.monotonic() > limit):
            worker.signal(signal.SIGKILL)
            return


def _command(job: Job, path: Path) -> list[str]:
    """A cell of several processes has a launcher that starts them."""
    launcher: list[str] = []
    if job.cell.processes > 1:
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={job.cell.processes}", "-m"]
    return [sys.executable, "-m", *launcher, WORKER, str(path)]


class Worker(subprocess.Popen[bytes]):
    """A process in a session of its own, so that Ctrl-C reaches the runner only."""

    def __init__(self, command: list[str], errors: IO[bytes], lock: int = -1, gpus: Sequence[str] = ()) -> None:
        super().__init__(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=worker_variables(gpus),
            pass_fds=(lock,) if lock >= 0 else (),
            start_new_session=True,
        )

    def result(self) -> tuple[int, int]:
        """Exit code, and peak resident memory in bytes; waits for the end."""
        _, status, usage = os.wait4(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        unit = 1 if sys.platform == "darwin" else 1024
        return self.returncode, unit * usage.ru_maxrss

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to a worker that is alive."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def close_input(self) -> None:
        """Close its standard input, which a worker takes for the death of its runner."""
        assert self.stdin is not None
        self.stdin.close()

    def close(self) -> None:
        """Close both pipes; the process itself is not touched."""
        for stream in (self.stdin, self.stdout):
            if stream is not None:
                stream.close()


def _read_events(worker: Worker, on_event: Callable[[dict[str, Any]], None]) -> None:
    """Pass on the events that the worker prints, until it has ended."""
    assert worker.stdout is not None
    for line in worker.stdout:
        with contextlib.suppress(ValueError):  # a line cut by the worker's death, or what a library printed
            event = json.loads(line)
            if isinstance(event, dict) and "event" in event:
                on_event(event)


def _oom_kills() -> int | None:
    """How many processes the system killed for lack of memory since it started; None where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return None


def _kills_since(before: int | None) -> int | None:
    """How many more processes that is by now."""
    after = _oom_kills()
    return None if before is None or after is None else after - before
