"""Run the cells that have no finished record yet, each in a process of its own, several at once. `barbench run` calls
it.

A cell that fails leaves a record with its reason and the next one starts; a finished cell is skipped; an interrupted
one goes on from its checkpoint when the same command is given again.
"""

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol

from barbench.benchmarks.execution.exits import UNWRITABLE
from barbench.benchmarks.execution.lock import locked
from barbench.benchmarks.execution.process import JOB_FOLDERS, Workers, death
from barbench.benchmarks.job import Job
from barbench.errors import BarbenchError
from barbench.files import is_left_behind, sweep
from barbench.results.record import Record
from barbench.results.store import Store


class Display(Protocol):
    """What is told of a run while it goes on; never by two threads at once."""

    def begin(self, jobs: Sequence[Job], finished: int) -> None: ...
    def start(self, job: Job) -> None: ...
    def event(self, job: Job, event: dict[str, Any]) -> None: ...
    def end(self, job: Job, record: Record) -> None: ...
    def note(self, text: str) -> None: ...


def run_jobs(jobs: Sequence[Job], results: Path, display: Display, halve: bool = False, slots: int = 1) -> list[Record]:
    """The records of all `jobs`, in their order.

    Args:
        halve: a cell that runs out of memory gives way to the same with half the micro-batch, as often as need be.
        slots: how many cells run at the same time.

    Raises:
        UsageError: where another run holds the results folder.
        BarbenchError: where nothing more can be written there.
        KeyboardInterrupt: passed on once every worker has ended, with a checkpoint where it was training.
    """
    with locked(results) as lock:
        _tidy(results)
        store = Store(results)
        records = {job.cell.id(): store.load(job.cell) for job in jobs}
        for lost in store.set_aside:
            display.note(f"{lost.path.name} cannot be used ({lost.reason}); it is now {lost.renamed.name}")
        waiting = [job for job in jobs if not _finished(records[job.cell.id()])]
        for job in jobs:
            if job not in waiting:
                job.checkpoint.unlink(missing_ok=True)  # of a run that was killed right after it wrote the record
        display.begin(waiting, len(jobs) - len(waiting))
        workers, run = Workers(lock), _Run(store, display, halve)
        pool = ThreadPoolExecutor(slots)
        threads: dict[Future[Record], Job] = {}
        try:
            for job in waiting:
                threads[pool.submit(run.cell, job, workers)] = job
            for thread in as_completed(threads):
                records[threads[thread].cell.id()] = thread.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                run.note("stopping once the steps under way are in checkpoints")
            workers.stop([thread for thread in threads if not thread.cancelled()])
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return [record for job in jobs if (record := records[job.cell.id()]) is not None]


def _finished(record: Record | None) -> bool:
    """Failed cells are tried again: their reason may be gone."""
    return record is not None and record.status == "done"


def _tidy(results: Path) -> None:
    """Remove what killed processes left unfinished; other hosts' workers may be writing here."""
    for folder in (results, *(results / "cells").glob("*")):
        sweep(folder)
    for folder in filter(is_left_behind, results.glob(JOB_FOLDERS)):
        shutil.rmtree(folder, ignore_errors=True)


class _Run:
    """What the threads of a run share."""

    def __init__(self, store: Store, display: Display, halve: bool) -> None:
        self.store, self.display, self.halve = store, display, halve
        self.telling = threading.Lock()

    def note(self, text: str) -> None:
        with self.telling:
            self.display.note(text)

    def cell(self, job: Job, workers: Workers) -> Record:
        """Run a cell to its record."""
        with self.telling:
            self.display.start(job)
        record = self._settle(job, job, workers)
        with self.telling:
            self.display.end(job, record)
        return record

    def _settle(self, asked: Job, job: Job, workers: Workers) -> Record:
        """The record of the cell, or of the one that it gave way to. What did not fit before is not tried again where
        it may be halved."""
        smaller, record = job.halved() if self.halve else None, self.store.load(job.cell)
        if record is None or (record.status != "done" and (smaller is None or record.status != "out-of-memory")):
            record = self._run_one(asked, job, workers)
        if smaller is None or record.status != "out-of-memory":
            return record
        self.note(f"{record.reason}; now with {smaller.cell.recipe['accumulate']} micro-batches a batch")
        return self._settle(asked, smaller, workers)

    def _run_one(self, asked: Job, job: Job, workers: Workers) -> Record:
        """The cell's record as its worker left it; where the worker died without one, a record that says so."""
        for stale in (self.store.path(job.cell), job.traceback):  # of an earlier failure
            stale.unlink(missing_ok=True)

        def tell(event: dict[str, Any]) -> None:
            with self.telling:
                self.display.event(asked, event)

        ended = workers.run(job, tell)
        if ended.code == UNWRITABLE:
            last = ended.said.strip().splitlines()[-1]
            raise BarbenchError(
                f"cannot write to {job.results}: {last}. What was kept stays; the same command goes on from it"
            )
        record = self.store.load(job.cell)
        if record is None:
            record = job.failure(*death(ended), peak_memory_bytes=ended.peak_bytes)
            self.store.save(record)
        if record.status == "failed" and "Traceback" in ended.said:
            job.scratch.mkdir(parents=True, exist_ok=True)
            job.traceback.write_text(ended.said)
        return record
