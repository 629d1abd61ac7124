"""A worker as a child process: started, listened to, ended with the runner, and explained where it leaves no record."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from barbench.benchmarks.environment import worker_variables
from barbench.benchmarks.job import STOPPED, Job

WORKER = "barbench.benchmarks.worker"
GRACE = 9.0  # seconds that a worker has to end the step under way and write its checkpoint
JOB_FOLDERS = ".job-*"  # beside the records, so that the next run finds what a killed one left
_SAID = 100_000  # bytes of the standard error that are looked at


class Ended(NamedTuple):
    """`said`: the end of its standard error; `peak_bytes` of resident memory; `oom_kills`: of all processes of this
    machine while it ran, None where the system does not count them."""

    code: int
    said: str
    peak_bytes: int
    oom_kills: int | None


def run_worker(job: Job, lock: int, on_event: Callable[[dict[str, Any]], None]) -> Ended:
    """Run the cell's worker to its end. It inherits `lock`, so that the results folder is free only once it has ended;
    it is asked to stop, and after GRACE made to, where this process is interrupted."""
    before = _oom_kills()
    with tempfile.TemporaryDirectory(dir=job.results, prefix=JOB_FOLDERS[:-1]) as folder:
        path, log = Path(folder) / "job.json", Path(folder) / "stderr"
        path.write_text(job.model_dump_json())
        with log.open("wb") as errors:
            code, peak = _watch(_command(job, path), errors, lock, on_event)
        said = log.read_bytes()[-_SAID:].decode(errors="replace")
    after = _oom_kills()
    return Ended(code, said, peak, None if before is None or after is None else after - before)


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


def _command(job: Job, path: Path) -> list[str]:
    if job.cell.processes == 1:
        return [sys.executable, "-m", WORKER, str(path)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={job.cell.processes}"]
    return [*launch, "-m", WORKER, str(path)]


def _watch(command: list[str], errors: Any, lock: int, on_event: Callable[[dict[str, Any]], None]) -> tuple[int, int]:
    """Exit code and peak resident memory in bytes. In a session of its own: Ctrl-C reaches this process only."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=worker_variables(),
        pass_fds=(lock,),
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            with contextlib.suppress(ValueError):  # a line cut by the worker's death, or what a library printed
                event = json.loads(line)
                if isinstance(event, dict) and "event" in event:
                    on_event(event)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    except KeyboardInterrupt:
        on_event({"event": "note", "text": "stopping once the step under way is in a checkpoint"})
        raise
    finally:
        if process.returncode is None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    finally:  # a second Ctrl-C does not wait
        if process.poll() is None:
            process.kill()
            process.wait()


def _oom_kills() -> int | None:
    """How many processes the system killed for want of memory since it started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
