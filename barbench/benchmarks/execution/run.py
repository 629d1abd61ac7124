"""Run the cells that have no finished record yet, several at once, wherever an executor puts them. `barbench run` calls
it.

A cell that fails leaves a record with its reason and the next one starts; a finished cell is skipped; an interrupted
one goes on from its checkpoint when the same command is given again.
"""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from barbench.benchmarks.execution.executors.base import Attempt, Ended, Executor
from barbench.benchmarks.execution.executors.local import Local
from barbench.benchmarks.execution.executors.make import executor_class
from barbench.benchmarks.execution.host.lock import locked
from barbench.benchmarks.execution.host.source import code_hash
from barbench.benchmarks.execution.run_folder import FOLDER, RunFolder
from barbench.benchmarks.job import Job
from barbench.errors import BarbenchError, Interrupted, UsageError
from barbench.files import is_left_behind, sweep
from barbench.results.record import Record
from barbench.results.store import Store

REFUSALS: Final = 3  # after which a run ends: hosts that cannot run its cells
LATE_SECONDS = 60.0  # that another host's file may take to be seen here


class Display(Protocol):
    """What is told of a run while it goes on."""

    def begin(self, jobs: Sequence[Job], finished: int) -> None:
        """Before any cell: those to run, in their order, and how many were finished before."""

    def start(self, job: Job) -> None:
        """A cell began."""

    def event(self, job: Job, event: dict[str, Any]) -> None:
        """What the cell says while it goes on."""

    def end(self, job: Job, record: Record) -> None:
        """The cell is settled."""

    def note(self, text: str) -> None:
        """About the run."""


def run_jobs(
    jobs: Sequence[Job],
    results: Path,
    display: Display,
    halve: bool = False,
    executor: Executor | None = None,
    retries: int = 0,
    forecast: Mapping[str, float] | None = None,
    detach: bool = False,
) -> list[Record]:
    """Run what is not finished yet.

    Args:
        jobs: the cells.
        results: folder of the records.
        display: is told what happens.
        halve: a cell that runs out of memory gives way to the same with half the micro-batch, as often as need be.
        executor: where cells run; None: one after the other on this host.
        retries: how often a cell that was lost without a fault of its own is tried again.
        forecast: seconds of each cell by its id, as far as known: the longest begin first, after those of which
            nothing is known.
        detach: submit the cells and return; the same call without it listens to them.

    Returns:
        The records of all `jobs`, in their order, without cells that were asked to stop.

    Raises:
        UsageError: where another run holds the results folder.
        BarbenchError: where nothing more can be written there, or no host can run the cells.
        KeyboardInterrupt: passed on once every worker has ended, with a checkpoint where it was training.
    """
    with locked(results) as lock:
        _tidy(results)
        store, engine = Store(results), executor or Local()
        run = _open_run(results, engine, jobs)
        records = {job.cell.id(): _record_of(store, job, halve) for job in jobs}
        for lost in store.set_aside:
            display.note(f"{lost.path.name} cannot be used ({lost.reason}); it is now {lost.renamed.name}")
        waiting = [job for job in jobs if not _finished(records[job.cell.id()])]
        waiting.sort(key=lambda job: _order(job, forecast or {}))
        for job in jobs:
            if job not in waiting:  # of a run that was killed right after it wrote the record
                for path in (job.checkpoint, job.attempts_file, job.lease):
                    path.unlink(missing_ok=True)
        display.begin(waiting, len(jobs) - len(waiting))
        if waiting:
            driver = _Driver(store, display, engine, run, halve, retries)
            records |= driver.run(waiting, lock, detach)
        else:
            run.remove()
        return [record for job in jobs if (record := records[job.cell.id()]) is not None]


def _order(job: Job, forecast: Mapping[str, float]) -> tuple[float, int]:
    """Key of the order of running: a long cell that begins last keeps all other slots waiting for it.

    Without a forecast the number of components tells enough: on the embedded benchmark a cell takes 50 s with none,
    80 to 95 s with one, 115 s with two and 320 s with BarLeRIa's three.
    """
    return -forecast.get(job.cell.id(), float("inf")), -len(job.composition)


def _finished(record: Record | None) -> bool:
    """Failed cells are tried again: their reason may be gone."""
    return record is not None and record.status == "done"


def _record_of(store: Store, job: Job, halve: bool) -> Record | None:
    """The record of a cell, or of the one that it gave way to."""
    record, smaller = store.load(job.cell), job.halved() if halve else None
    if record is not None and record.status == "out-of-memory" and smaller is not None:
        return _record_of(store, smaller, halve) or record
    return record


def _tidy(results: Path) -> None:
    """Remove what killed processes left unfinished; other hosts' workers may be writing here."""
    for folder in (results, *(results / "cells").glob("*")):
        sweep(folder)
    for folder in (results / FOLDER).glob("*/"):
        if not RunFolder(folder).exists() and is_left_behind(folder):
            shutil.rmtree(folder, ignore_errors=True)
    for run in RunFolder.all(results):
        if not executor_class(
            run.executor
        ).settles_on_host:  # its cells ended with it, and this process holds the folder now
            run.remove()


def _open_run(results: Path, executor: Executor, jobs: Sequence[Job]) -> RunFolder:
    """A new run, or the one of an earlier process that led it and is gone while its cells go on elsewhere."""
    cells = {job.cell.id(): job.cell.stem() for job in jobs}
    for run in RunFolder.all(results):
        if not run.cells.keys() & cells.keys():
            continue
        if run.executor != executor.name:
            raise UsageError(f"run {run.id} ({run.executor}) has some of these cells: barbench stop {run.id} ends it")
        run.take_over(cells)
        return run
    return RunFolder.make(results, executor.name, cells, code_hash())


class _Driver:
    """The cells of a run on their way to their records."""

    def __init__(
        self, store: Store, display: Display, executor: Executor, run: RunFolder, halve: bool, retries: int
    ) -> None:
        self.store, self.display, self.executor, self.folder = store, display, executor, run
        self.halve, self.retries = halve, retries
        self.jobs: dict[str, Job] = {}
        self.numbers: dict[str, int] = {}
        self.records: dict[str, Record | None] = {}
        self.started: set[str] = set()
        self.refusals: list[str] = []

    def run(self, jobs: Sequence[Job], lock: int, detach: bool = False) -> dict[str, Record | None]:
        """The records by the cells' ids; None of cells that were asked to stop. Where it is to `detach`, none: cells go
        on by themselves once they are submitted."""
        self.jobs = {job.cell.id(): job for job in jobs}
        try:
            self.executor.start(self.folder, lock)
            self.numbers = self.executor.adopt()
            self.submit([job for job in jobs if job.cell.id() not in self.numbers])
            while self.waiting and not detach:
                self.listen(0.5)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                self.display.note("stopping once the steps under way are in checkpoints")
            self.executor.stop()
            try:
                while self.executor.alive():
                    self.executor.poll(0.5)
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
        for job in jobs:
            self.numbers[job.cell.id()] = self.numbers.get(job.cell.id(), 0) + 1
        elsewhere = self.executor.settles_on_host  # where another copy of barbench may be
        self.executor.submit(
            [
                Attempt(
                    job=job,
                    run=self.folder.id,
                    number=self.numbers[job.cell.id()],
                    executor=self.executor.name,
                    halve=self.halve,
                    code=code_hash(job.cell.method) if elsewhere else None,
                )
                for job in jobs
            ]
        )

    def listen(self, seconds: float) -> None:
        for cell, what in self.executor.poll(seconds):
            if cell not in self.waiting:
                continue
            if isinstance(what, Ended):
                if what.number >= self.numbers.get(cell, 0):  # not of an attempt before this one
                    self.end(cell, what)
                continue
            self.start(cell)
            self.display.event(self.jobs[cell], dict(what))

    def start(self, cell: str) -> None:
        if cell not in self.started:
            self.started.add(cell)
            self.display.start(self.jobs[cell])

    def end(self, cell: str, ended: Ended) -> None:
        """Settle a cell, or have it tried again."""
        job = self.jobs[cell]
        if ended.how == "unwritable":
            raise BarbenchError(
                f"cannot write to {job.results}: {ended.said}. What was kept stays; the same command goes on from it"
            )
        if ended.how == "refused":
            self.refusals.append(ended.said)
            if len(self.refusals) >= REFUSALS:
                raise BarbenchError("no host can run the cells: " + "; ".join(dict.fromkeys(self.refusals)))
            self.submit([job])
            return
        if ended.how == "stopped":
            if self.folder.asked_to_stop():
                raise Interrupted("stopped by barbench stop; the same command goes on from here")
            self.records[cell] = None
            self.display.note(f"{job.cell.stem()}: {ended.said}")
            return
        if ended.how == "lost" and self.numbers.get(cell, 0) <= self.retries:
            self.display.note(f"{job.cell.stem()} was lost ({ended.said}); it is tried again")
            self.submit([job])
            return
        record = self.written(job, ended)
        self.records[cell] = record
        self.start(cell)
        self.display.end(job, record)

    def written(self, job: Job, ended: Ended) -> Record:
        """The record that an attempt left, as soon as it can be seen here; one that says what is known without it."""
        late = self.executor.settles_on_host and ended.how in ("done", "failed")
        limit = time.monotonic() + LATE_SECONDS * late
        while (record := _record_of(self.store, job, self.halve)) is None and time.monotonic() < limit:
            time.sleep(1.0)
            os.listdir(job.results)  # a network file system remembers for a while that a file was not there
        if record is None:
            status: Literal["failed", "out-of-memory"] = "out-of-memory" if ended.how == "out-of-memory" else "failed"
            record = job.failure(status, ended.said or "it ended without a record")
            self.store.save(record)
        return record
