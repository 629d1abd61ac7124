"""Run the cells that have no finished record yet, several at once, wherever an executor puts them. `barbench run` calls
it.

A cell that fails leaves a record with its reason and the next one starts; a finished cell is skipped; an interrupted
one resumes from its checkpoint when the same command is given again.
"""

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from barbench.benchmarks.execution.attempt import Attempt
from barbench.benchmarks.execution.display import PlainDisplay
from barbench.benchmarks.execution.executors.base import Executor
from barbench.benchmarks.execution.executors.local import Local
from barbench.benchmarks.execution.executors.make import executor_class
from barbench.benchmarks.execution.host.lock import locked
from barbench.benchmarks.execution.host.source import code_hash, own_code
from barbench.benchmarks.execution.outcome import Ended
from barbench.benchmarks.execution.run_folder import FOLDER, RunFolder
from barbench.benchmarks.execution.status import look
from barbench.benchmarks.job import Job
from barbench.errors import BarbenchError, Interrupted, UsageError
from barbench.files import is_left_behind, sweep
from barbench.results.record import Record
from barbench.results.store import Store
from barbench.spec.text import plural

REFUSALS: Final = 3
"""After which a run ends: its hosts cannot run its cells."""
LATE_SECONDS: Final = 60.0
"""That a file written on another host may take to be seen here."""
_POLL_SECONDS: Final = 0.5


def run_jobs(
    jobs: Sequence[Job],
    results: Path,
    display: PlainDisplay,
    halve: bool = False,
    executor: Executor | None = None,
    retries: int = 0,
    forecast: Mapping[str, float] | None = None,
    detach: bool = False,
    again: bool = False,
) -> list[Record]:
    """Run what is not finished yet.

    Args:
        halve: run a cell that runs out of memory again with half the micro-batch, as often as necessary.
        executor: where cells run; None: one after the other on this host.
        retries: how often a cell that was lost through no fault of the cell is tried again.
        forecast: seconds of each cell by its id, as far as known: the longest begin first, after those of which
            nothing is known.
        detach: submit the cells and return; the same call without it follows them.
        again: run finished cells too, from the start; their records are kept under other names.

    Returns:
        The records of all `jobs`, in their order, without cells that were asked to stop.

    Raises:
        UsageError: where another run holds the results folder, or a user's own method was edited since a cell of it
            was finished.
        BarbenchError: where nothing more can be written there, or no host can run the cells.
        KeyboardInterrupt: passed on once every worker has ended, with a checkpoint where it was training.
    """
    with locked(results) as lock:
        # The folder, the executor and the run.
        _tidy(results, display)
        store = Store(results)
        executor = executor or Local()

        # Which cells are finished.
        records = {job.cell.id(): _record_of(store, job, halve) for job in jobs}
        if not again:
            check_unedited(records.values())
        run = _open_run(results, executor, jobs)
        if again:
            for job in jobs:
                _put_aside(store, job)
            records = dict.fromkeys(records)
        for lost in store.set_aside:
            display.note(f"{lost.path.name} cannot be used ({lost.reason}); it is now {lost.renamed.name}")
        waiting = [job for job in jobs if not _is_finished(records[job.cell.id()])]
        waiting.sort(key=lambda job: _order(job, forecast or {}))
        for job in jobs:
            if job not in waiting:
                _remove_leftovers(job)

        display.begin(waiting, len(jobs) - len(waiting))
        if waiting:
            records |= _Driver(store, display, executor, run, halve, retries).run(waiting, lock, detach)
        else:
            run.remove()
    found = [records[job.cell.id()] for job in jobs]
    return [record for record in found if record is not None]


def check_unedited(records: Iterable[Record | None]) -> None:
    """UsageError where the source of a finished record's method is not what it was; None, and what is not finished, is
    left out."""
    # The first method that was edited ends the run; its cells are counted.
    found: dict[str, list[Record]] = {}
    for record in records:
        if record is not None and record.status == "done" and _was_edited(record):
            found.setdefault(record.cell.method, []).append(record)
    for method, edited in found.items():
        raise UsageError(
            f"{method} was edited since {plural(len(edited), 'finished cell')} of it ended, such as "
            f"{edited[0].cell.stem()}: barbench run --again trains what is asked for again and keeps the old records "
            "under other names; another folder with --results keeps both"
        )


def _was_edited(record: Record) -> bool:
    """Whether the code of its method is known, and is another one now."""
    now = own_code(record.cell.method)
    made = record.environment
    if not now:
        return False
    if "own_code" in made:
        return made["own_code"] != now
    # Older records have one hash of barbench's code and the method's: it says something where barbench is the same.
    if "method_code" not in made or made.get("code") != code_hash():
        return False
    code_hash.cache_clear()
    return made["method_code"] != code_hash(record.cell.method)


def _order(job: Job, forecast: Mapping[str, float]) -> tuple[float, int]:
    """Key of the order of running: a long cell that begins last keeps all other slots waiting for it.

    Without a forecast the number of components decides: on the embedded benchmark a cell takes 50 s with none, 80 to
    95 s with one, 115 s with two and 320 s with BarLeRIa's three.
    """
    return -forecast.get(job.cell.id(), float("inf")), -len(job.composition)


def _is_finished(record: Record | None) -> bool:
    """Failed cells are tried again: their reason may be gone."""
    return record is not None and record.status == "done"


def _record_of(store: Store, job: Job, halve: bool) -> Record | None:
    """The record of a cell, or of the one with smaller micro-batches that ran in its place."""
    record = store.load_to_write(job.cell)
    if halve and record is not None and record.status == "out-of-memory":
        smaller = job.halved()
        if smaller is not None:
            return _record_of(store, smaller, halve) or record
    return record


def _put_aside(store: Store, job: Job) -> None:
    """Make a cell, and those with smaller micro-batches that ran in its place, ones that never began."""
    record = store.load(job.cell)
    store.put_aside(job.cell)
    _remove_leftovers(job)
    smaller = job.halved()
    if smaller is not None and record is not None and record.status == "out-of-memory":
        _put_aside(store, smaller)


def _remove_leftovers(job: Job) -> None:
    """A run that was killed right after it wrote the record leaves these."""
    job.remove_unfinished()
    for path in (job.attempts_file, job.lease):
        path.unlink(missing_ok=True)


def _tidy(results: Path, display: PlainDisplay) -> None:
    """Remove what killed processes left unfinished; other hosts' workers may be writing here."""
    for run in RunFolder.damaged(results):
        display.note(f"{run.file} cannot be used ({run.fault}); it is now {run.set_aside().name}")
    for folder in (results, *(results / "cells").glob("*")):
        sweep(folder)
    for folder in (results / FOLDER).glob("*/"):
        if not RunFolder(folder).exists() and is_left_behind(folder):
            shutil.rmtree(folder, ignore_errors=True)
    for run in RunFolder.all(results):
        # This process holds the folder now, so that no other leads a run. Detached cells may still run.
        if not executor_class(run.executor).detaches or look(run, is_led=False).is_over:
            run.remove()


def _open_run(results: Path, executor: Executor, jobs: Sequence[Job]) -> RunFolder:
    """A new run, or the one of an earlier process that has ended while its cells run elsewhere."""
    cells = {job.cell.id(): job.cell.stem() for job in jobs}
    for run in RunFolder.all(results):
        if not run.cells.keys() & cells.keys():
            continue
        if run.executor != executor.name:
            raise UsageError(f"run {run.id} ({run.executor}) has some of these cells: barbench stop {run.id} ends it")
        run.take_over(cells)
        return run
    return RunFolder.make(results, executor.name, cells, code_hash())


@dataclass
class _Driver:
    """Brings the cells of a run to their records."""

    store: Store
    display: PlainDisplay
    executor: Executor
    folder: RunFolder
    halve: bool
    retries: int

    def __post_init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.numbers: dict[str, int] = {}  # of the last attempt at each cell
        self.records: dict[str, Record | None] = {}  # None: asked to stop
        self.started: set[str] = set()
        self.refusals: list[str] = []

    def run(self, jobs: Sequence[Job], lock: int, detach: bool = False) -> dict[str, Record | None]:
        """The records by the cells' ids; None of cells that were asked to stop. With `detach`, none: cells run without
        this process once they are submitted."""
        self.jobs = {job.cell.id(): job for job in jobs}
        try:
            self.executor.start(self.folder, lock)
            self.numbers = self.executor.adopt()
            self.submit([job for job in jobs if job.cell.id() not in self.numbers])
            while self.waiting and not detach:
                self.listen(_POLL_SECONDS)
        except BaseException as error:
            # Whatever happened, cells under way end with a checkpoint before the error is passed on.
            if isinstance(error, KeyboardInterrupt):
                self.display.note("stopping once the steps under way are in checkpoints")
            self.executor.stop()
            try:
                while self.executor.alive():
                    self.executor.poll(_POLL_SECONDS)
            finally:
                self.leave()
            raise
        if not detach:
            self.leave()
        return self.records

    def leave(self) -> None:
        self.executor.close()
        self.folder.remove()

    @property
    def waiting(self) -> set[str]:
        return self.jobs.keys() - self.records.keys()

    def submit(self, jobs: Sequence[Job]) -> None:
        attempts = []
        for job in jobs:
            cell = job.cell.id()
            # Numbers rise over all processes that led this run: the end of an earlier attempt is told apart by them.
            number = max(self.numbers.get(cell, 0), self.folder.last_number(cell)) + 1
            self.numbers[cell] = number
            # Another host may have another copy of barbench.
            code = code_hash(job.cell.method) if self.executor.settles_on_host else None
            attempt = Attempt(
                job=job,
                run=self.folder.id,
                number=number,
                executor=self.executor.name,
                halve=self.halve,
                code=code,
            )
            attempts.append(attempt)
        self.executor.submit(attempts)

    def listen(self, seconds: float) -> None:
        for cell, event in self.executor.poll(seconds):
            if cell not in self.waiting:
                continue
            if not isinstance(event, Ended):
                self.start(cell)
                self.display.event(self.jobs[cell], dict(event))
            elif event.number >= self.numbers.get(cell, 0):  # an earlier attempt's end says nothing
                self.end(cell, event)

    def start(self, cell: str) -> None:
        if cell not in self.started:
            self.started.add(cell)
            self.display.start(self.jobs[cell])

    def end(self, cell: str, ended: Ended) -> None:
        """Take the record of a cell, or have it tried again."""
        job = self.jobs[cell]
        match ended.how:
            case "unwritable":
                raise BarbenchError(
                    f"cannot write to {job.results}: {ended.reason}. "
                    "Finished cells are kept; run the same command to resume"
                )
            # A host that cannot run a cell says nothing about others, until several have refused.
            case "refused":
                self.refusals.append(ended.reason)
                if len(self.refusals) >= REFUSALS:
                    raise BarbenchError("no host can run the cells: " + "; ".join(dict.fromkeys(self.refusals)))
                self.submit([job])
            case "stopped":
                if self.folder.asked_to_stop():
                    raise Interrupted("stopped by barbench stop; run the same command to resume")
                self.records[cell] = None
                self.display.note(f"{job.cell.stem()}: {ended.reason}")
            # A fault of the host, not of the cell.
            case "lost" if self.numbers.get(cell, 0) <= self.retries:
                self.display.note(f"{job.cell.stem()} was lost ({ended.reason}); it is tried again")
                self.submit([job])
            case _:
                record = self.written(job, ended)
                self.records[cell] = record
                self.start(cell)
                self.display.end(job, record)

    def written(self, job: Job, ended: Ended) -> Record:
        """The record that an attempt left, as soon as it can be seen here, or one with what is known without it."""
        record = _record_of(self.store, job, self.halve)
        # A file that was written on another host may be seen here later.
        if self.executor.settles_on_host and ended.how in ("done", "failed"):
            limit = time.monotonic() + LATE_SECONDS
            while record is None and time.monotonic() < limit:
                time.sleep(1.0)
                os.listdir(job.results)  # makes a network file system look again for files that were not there
                record = _record_of(self.store, job, self.halve)
        if record is None:
            status: Literal["failed", "out-of-memory"] = "failed"
            if ended.how == "out-of-memory":
                status = "out-of-memory"
            record = job.failure(status, ended.reason or "it ended without a record")
            self.store.save(record)
        return record
