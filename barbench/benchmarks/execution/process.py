"""A worker as a process of its own: started, listened to, ended with the runner, and explained where it leaves no
record."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from barbench.benchmarks.execution.variables import worker_variables
from barbench.benchmarks.job import STOPPED, Job

WORKER = "barbench.benchmarks.execution.worker"
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


def run_worker(job: Job, lock: int, on_event: OnEvent) -> Ended:
    """Run the worker of one cell to its end.

    The worker inherits the file descriptor `lock`, so that the results folder is free only once it has ended. Where
    this process is interrupted, the worker is asked to stop, and killed after GRACE seconds.
    """
    before = _oom_kills()
    with tempfile.TemporaryDirectory(dir=job.results, prefix=JOB_FOLDERS[:-1]) as folder:
        path, log = Path(folder) / "job.json", Path(folder) / "stderr"
        path.write_text(job.model_dump_json())
        with log.open("wb") as errors, closing(Worker(_command(job, path.resolve()), errors, lock)) as worker:
            code, peak = _watch(worker, on_event)
        said = log.read_bytes()[-_STDERR_BYTES:].decode(errors="replace")
    after = _oom_kills()
    peak *= 1 if sys.platform == "darwin" else 1024
    return Ended(code, said, peak, None if before is None or after is None else after - before)


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

    def close(self) -> None:
        for stream in filter(None, (self.stdin, self.stdout)):
            stream.close()


def death(ended: Ended) -> tuple[Literal["failed", "out-of-memory"], str]:
    """Status and reason for a worker that left no record."""
    if ended.code == -signal.SIGKILL and ended.oom_kills != 0:
        why = "as systems do that run out of memory" if ended.oom_kills is None else "for want of memory"
        return "out-of-memory", f"the process was killed (signal 9), {why}, at {ended.peak_bytes / 1e9:.2f} GB"
    if ended.code == STOPPED:
        return "failed", "the process was asked to stop (SIGTERM); it goes on from its checkpoint"
    last = ended.said.strip().splitlines()[-1:] or ["it said nothing"]
    how = f"was ended by signal {-ended.code}" if ended.code < 0 else f"ended with code {ended.code}"
    return "failed", f"the process {how}: {last[0]}"


def _watch(worker: Worker, on_event: OnEvent) -> tuple[int, int]:
    """Pass on what it tells; its `result`."""
    assert worker.stdout is not None
    try:
        for line in worker.stdout:
            with contextlib.suppress(ValueError):  # a line cut by the worker's death, or what a library printed
                event = json.loads(line)
                if isinstance(event, dict) and "event" in event:
                    on_event(event)
        return worker.result()
    except KeyboardInterrupt:
        on_event({"event": "note", "text": "stopping once the step under way is in a checkpoint"})
        raise
    finally:
        if worker.poll() is None:
            _end(worker)


def _end(worker: Worker) -> None:
    worker.terminate()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(GRACE)
    finally:  # a second Ctrl-C does not wait
        if worker.poll() is None:
            worker.kill()
            worker.wait()


def _oom_kills() -> int | None:
    """How many processes the system killed for want of memory since it started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
