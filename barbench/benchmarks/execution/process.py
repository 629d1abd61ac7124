"""A worker as a process of its own: started, listened to, ended with the runner, and explained where it leaves no
record."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, wait
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from barbench.benchmarks.execution.exits import STOPPED, STOPPED_EVENT
from barbench.benchmarks.execution.signals import TO_WORKERS
from barbench.benchmarks.execution.variables import worker_variables
from barbench.benchmarks.job import Job
from barbench.errors import Interrupted
from barbench.files import own_mark

WORKER = "barbench.benchmarks.execution.start"
GRACE = 9.0  # seconds that a worker has to end the step under way and write its checkpoint
JOB_FOLDERS = ".job-*"  # beside the records, so that the next run finds what a killed one left
_STDERR_BYTES = 100_000  # bytes of the standard error that are looked at

OnEvent = Callable[[dict[str, Any]], None]


class Ended(NamedTuple):
    """`said`: the end of its standard error; `peak_bytes` of resident memory; `oom_kills`: of all processes of this
    machine while it ran, None where the system does not count them."""

    code: int
    said: str
    peak_bytes: int
    oom_kills: int | None


class Workers:
    """The workers of a run that are alive, several at once, so that all of them can be asked to stop."""

    def __init__(self, lock: int) -> None:
        """Each worker inherits the file descriptor `lock`, so that the results folder is free only once all ended."""
        self._lock = lock
        self._alive: set[Worker] = set()
        self._guard = threading.Lock()
        self._stopping = False

    def run(self, job: Job, on_event: OnEvent) -> Ended:
        """Run the worker of one cell to its end; any thread may call it.

        Raises:
            Interrupted: where `stop` was called before the cell was done.
        """
        before, stopped = _oom_kills(), threading.Event()

        def heard(event: dict[str, Any]) -> None:
            if event == STOPPED_EVENT:
                stopped.set()
            else:
                on_event(event)

        with tempfile.TemporaryDirectory(dir=job.results, prefix=f"{JOB_FOLDERS[:-1]}{own_mark()}-") as folder:
            path, log = Path(folder) / "job.json", Path(folder) / "stderr"
            path.write_text(job.model_dump_json())
            with log.open("wb") as errors, closing(self._start(job, path.resolve(), errors)) as worker:
                reader = threading.Thread(target=_listen, args=(worker, heard), daemon=True)
                reader.start()
                code, peak = self._result(worker)
                worker.close_input()  # processes whose launcher was killed end with it
                reader.join()
            said = log.read_bytes()[-_STDERR_BYTES:].decode(errors="replace")
        if self._stopping and code != 0:
            raise Interrupted(f"{job.cell.stem()} was asked to stop")
        after = _oom_kills()
        peak *= 1 if sys.platform == "darwin" else 1024
        # A launcher ends with 1 whatever its processes said, or by the signal itself where it was still starting.
        if (code == 1 and stopped.is_set()) or -code in TO_WORKERS:
            code = STOPPED
        return Ended(code, said, peak, None if before is None or after is None else after - before)

    def stop(self, threads: Collection[Future[Any]]) -> None:
        """Ask all workers to write a checkpoint and end; kill those that have not after GRACE seconds.

        Args:
            threads: what the threads that called `run` will give; all have ended when this returns.
        """
        self._signal(signal.SIGTERM)
        try:
            wait(threads, GRACE)
        finally:  # a second Ctrl-C does not wait
            self._signal(signal.SIGKILL)
            wait(threads)

    def _start(self, job: Job, path: Path, errors: IO[bytes]) -> "Worker":
        with self._guard:
            if self._stopping:
                raise Interrupted(f"{job.cell.stem()} was not begun")
            worker = Worker(_command(job, path), errors, self._lock)
            self._alive.add(worker)
            return worker

    def _result(self, worker: "Worker") -> tuple[int, int]:
        try:
            return worker.result()
        finally:
            with self._guard:
                self._alive.discard(worker)

    def _signal(self, number: signal.Signals) -> None:
        with self._guard:
            self._stopping = True
            for worker in self._alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, number)


def _command(job: Job, path: Path) -> list[str]:
    """A cell of several processes has a launcher that starts them."""
    several = f"--nproc-per-node={job.cell.processes}"
    launcher = [] if job.cell.processes == 1 else ["torch.distributed.run", "--standalone", several, "-m"]
    return [sys.executable, "-m", *launcher, WORKER, str(path)]


class Worker(subprocess.Popen[bytes]):
    """A process in a session of its own, so that Ctrl-C reaches the runner only."""

    def __init__(self, command: list[str], errors: IO[bytes], lock: int) -> None:
        super().__init__(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=worker_variables(),
            pass_fds=(lock,),
            start_new_session=True,
        )

    def result(self) -> tuple[int, int]:
        """Exit code, and peak resident memory as the system counts it."""
        _, status, usage = os.wait4(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode, usage.ru_maxrss

    def close_input(self) -> None:
        assert self.stdin is not None
        self.stdin.close()

    def close(self) -> None:
        for stream in filter(None, (self.stdin, self.stdout)):
            stream.close()


def death(ended: Ended) -> tuple[Literal["failed", "out-of-memory"], str]:
    """Status and reason for a worker that left no record."""
    if ended.code == -signal.SIGKILL and ended.oom_kills != 0:
        why = "as systems do that run out of memory" if ended.oom_kills is None else "for want of memory"
        return "out-of-memory", f"the process was killed (signal 9), {why}, at {ended.peak_bytes / 1e9:.2f} GB"
    if ended.code == STOPPED:
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
