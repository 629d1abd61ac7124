"""Run the cells that have no finished record yet, each in a process of its own. `barbench run` calls it.

A cell that fails leaves a record with its reason and the next one starts; a finished cell is skipped; an interrupted
one goes on from its checkpoint when the same command is given again.
"""

import fcntl
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from barbench.benchmarks.environment import worker_variables
from barbench.benchmarks.job import Job
from barbench.errors import UsageError
from barbench.results.record import Record
from barbench.results.store import Store

WORKER = "barbench.benchmarks.worker"


class Display(Protocol):
    """What is told of a run while it goes on."""

    def begin(self, jobs: Sequence[Job], finished: int) -> None: ...
    def start(self, job: Job) -> None: ...
    def event(self, event: dict[str, Any]) -> None: ...
    def end(self, record: Record) -> None: ...
    def note(self, text: str) -> None: ...


def run_jobs(jobs: Sequence[Job], results: Path, display: Display) -> list[Record]:
    """The records of all `jobs`, in their order. Raises UsageError where another run holds the results folder."""
    with _locked(results):
        store = Store(results)
        records = {job.cell.id(): store.load(job.cell) for job in jobs}
        for lost in store.set_aside:
            display.note(f"{lost.path.name} cannot be used ({lost.reason}); it is now {lost.renamed.name}")
        waiting = [job for job in jobs if not _finished(records[job.cell.id()])]
        display.begin(waiting, len(jobs) - len(waiting))
        for job in waiting:
            display.start(job)
            done = records[job.cell.id()] = _run_one(job, store, display)
            display.end(done)
        return [record for job in jobs if (record := records[job.cell.id()]) is not None]


def _finished(record: Record | None) -> bool:
    """Failed cells are tried again: their reason may be gone."""
    return record is not None and record.status == "done"


@contextmanager
def _locked(results: Path) -> Iterator[None]:
    try:
        results.mkdir(parents=True, exist_ok=True)
        file = (results / ".lock").open("w")
    except OSError as error:
        raise UsageError(f"cannot write to the results folder {results}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            held = f"another barbench run is using {results}; wait for it, or give --results FOLDER"
            raise UsageError(held) from None
        yield


def _run_one(job: Job, store: Store, display: Display) -> Record:
    """The cell's record as its worker left it; where the worker died without one, a record that says so."""
    store.path(job.cell).unlink(missing_ok=True)  # of an earlier failure
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder) / "job.json", Path(folder) / "stderr"
        path.write_text(job.model_dump_json())
        with log.open("w+") as errors:
            code = _watch(_command(job, path), errors, display)
            errors.seek(0)
            said = errors.read()
    record = store.load(job.cell)
    if record is None:
        status, reason = _death(code, said)
        record = job.failure(status, reason)
        store.save(record)
    if record.status == "failed" and "Traceback" in said:
        job.scratch.mkdir(parents=True, exist_ok=True)
        (job.scratch / "traceback.txt").write_text(said)
    return record


def _command(job: Job, path: Path) -> list[str]:
    if job.cell.processes == 1:
        return [sys.executable, "-m", WORKER, str(path)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={job.cell.processes}"]
    return [*launch, "-m", WORKER, str(path)]


def _watch(command: list[str], errors: Any, display: Display) -> int:
    """Run the worker, pass its events on, and return its exit code; it is ended when this is interrupted."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=worker_variables()
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            try:
                event = json.loads(line)
            except ValueError:  # a line cut by the worker's death, or what a library printed while imported
                continue
            display.event(event)
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _death(code: int, said: str) -> tuple[Any, str]:
    """Status and reason for a worker that left no record."""
    if code == -signal.SIGKILL:
        return "out-of-memory", "the process was killed (signal 9), as systems do that run out of memory"
    last = said.strip().splitlines()[-1:] or ["it said nothing"]
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return "failed", f"the process {how}: {last[0]}"
