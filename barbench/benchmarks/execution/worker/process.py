"""A worker as a process of its own: started, listened to, ended with the runner, and explained where it leaves no
record."""

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
from typing import IO, Any, Literal, NamedTuple

from barbench.benchmarks.execution.host.variables import worker_variables
from barbench.benchmarks.execution.worker.exits import Left
from barbench.benchmarks.execution.worker.signals import TO_WORKERS
from barbench.benchmarks.job import Job

WORKER = "barbench.benchmarks.execution.worker.start"
GRACE = 9.0  # seconds that a worker has to end the step under way and write its checkpoint
_STDERR_BYTES = 100_000  # bytes of the standard error that are looked at

OnEvent = Callable[[dict[str, Any]], None]


class Died(NamedTuple):
    """`left`: why it ended without a record, in its own words; `said`: the end of its standard error; `peak_bytes` of
    resident memory; `oom_kills`: of all processes of this machine while it ran, None where nobody counts them."""

    code: int
    left: tuple[Left, str] | None
    said: str
    peak_bytes: int
    oom_kills: int | None


def run_worker(
    job: Job,
    folder: Path,
    on_event: OnEvent,
    asked: Callable[[], bool],
    kill: threading.Event,
    gpus: Sequence[str] = (),
    lock: int = -1,
    grace: float = GRACE,
) -> Died:
    """Run the worker of one cell to its end.

    Args:
        job: all that it is told.
        folder: where its job and its standard error lie while it runs.
        on_event: hears its events, in a thread of their own.
        asked: looked at ten times a second: the worker is to write a checkpoint and end.
        kill: end it at once.
        gpus: that it sees.
        lock: a descriptor that it inherits, so that the results folder is free only once it has ended.
        grace: seconds between asking it and killing it.

    Returns:
        How it ended.
    """
    before, over, left = _oom_kills(), threading.Event(), list[tuple[Left, str]]()

    def heard(event: dict[str, Any]) -> None:
        if event["event"] == "leaving":
            left.append((event["how"], event["said"]))
        else:
            on_event(event)

    path, log = folder / "job.json", folder / "stderr"
    path.write_text(job.model_dump_json())
    with log.open("wb") as errors, closing(Worker(_command(job, path.resolve()), errors, lock, gpus)) as worker:
        helpers = [
            threading.Thread(target=_listen, args=(worker, heard), daemon=True),
            threading.Thread(target=_watch, args=(worker, over, asked, kill, grace), daemon=True),
        ]
        for helper in helpers:
            helper.start()
        code, peak = worker.result()
        over.set()
        worker.close_input()  # processes whose launcher was killed end with it
        for helper in helpers:
            helper.join()
    said = log.read_bytes()[-_STDERR_BYTES:].decode(errors="replace")
    after = _oom_kills()
    peak *= 1 if sys.platform == "darwin" else 1024
    if -code in TO_WORKERS:  # a launcher of several processes that was still starting
        left.append(("stopped", ""))
    return Died(
        code,
        left[-1] if left and code else None,
        said,
        peak,
        None if before is None or after is None else after - before,
    )


def _watch(
    worker: "Worker", over: threading.Event, asked: Callable[[], bool], kill: threading.Event, grace: float
) -> None:
    """Hand on the wish to stop, and end a worker that does not."""
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
    several = f"--nproc-per-node={job.cell.processes}"
    launcher = [] if job.cell.processes == 1 else ["torch.distributed.run", "--standalone", several, "-m"]
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
        """Exit code, and peak resident memory as the system counts it."""
        _, status, usage = os.wait4(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode, usage.ru_maxrss

    def signal(self, number: signal.Signals) -> None:
        """To a worker that is alive."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def close_input(self) -> None:
        """What a worker takes for the death of its runner."""
        assert self.stdin is not None
        self.stdin.close()

    def close(self) -> None:
        """Both pipes; the process itself is not touched."""
        for stream in filter(None, (self.stdin, self.stdout)):
            stream.close()


def death(ended: Died) -> tuple[Literal["failed", "out-of-memory"], str]:
    """Status and reason for a worker that left no record."""
    if ended.code == -signal.SIGKILL and ended.oom_kills != 0:
        why = "as systems do that run out of memory" if ended.oom_kills is None else "for want of memory"
        return "out-of-memory", f"the process was killed (signal 9), {why}, at {ended.peak_bytes / 1e9:.2f} GB"
    if ended.left is not None:
        return "failed", "the process was asked to stop; it goes on from its checkpoint"
    last = ended.said.strip().splitlines()[-1:] or ["it said nothing"]
    how = f"was ended by signal {-ended.code}" if ended.code < 0 else f"ended with code {ended.code}"
    return "failed", f"the process {how}: {last[0]}"


def _listen(worker: Worker, on_event: OnEvent) -> None:
    """Pass on the events that it prints, until it has ended."""
    assert worker.stdout is not None
    for line in worker.stdout:
        with contextlib.suppress(ValueError):  # a line cut by the worker's death, or what a library printed
            event = json.loads(line)
            if isinstance(event, dict) and "event" in event:
                on_event(event)


def _oom_kills() -> int | None:
    """How many processes the system killed for want of memory since it started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
