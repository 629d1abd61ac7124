"""Run the cells that have no finished record yet, each in a process of its own. `barbench run` calls it.

A cell that fails leaves a record with its reason and the next one starts; a finished cell is skipped; an interrupted
one goes on from its checkpoint when the same command is given again.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from barbench.benchmarks.execution.lock import locked
from barbench.benchmarks.execution.process import JOB_FOLDERS, death, run_worker
from barbench.benchmarks.job import UNWRITABLE, Job
from barbench.errors import BarbenchError
from barbench.files import sweep
from barbench.results.record import Record
from barbench.results.store import Store


class Display(Protocol):
    """What is told of a run while it goes on."""

    def begin(self, jobs: Sequence[Job], finished: int) -> None: ...
    def start(self, job: Job) -> None: ...
    def event(self, event: dict[str, Any]) -> None: ...
    def end(self, record: Record) -> None: ...
    def note(self, text: str) -> None: ...


def run_jobs(jobs: Sequence[Job], results: Path, display: Display, halve: bool = False) -> list[Record]:
    """The records of all `jobs`, in their order; with `halve`, a cell that runs out of memory gives way to the same
    with half the micro-batch, as often as need be. Raises UsageError where another run holds the results folder, and
    BarbenchError where nothing more can be written there.
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
        for job in waiting:
            display.start(job)
            done = records[job.cell.id()] = _settle(job, store, lock, display, halve)
            display.end(done)
        return [record for job in jobs if (record := records[job.cell.id()]) is not None]


def _finished(record: Record | None) -> bool:
    """Failed cells are tried again: their reason may be gone."""
    return record is not None and record.status == "done"


def _tidy(results: Path) -> None:
    """Nobody else writes here: what is unfinished was left by a run that was killed."""
    for folder in (results, *(results / "cells").glob("*")):
        sweep(folder)
    for folder in results.glob(JOB_FOLDERS):
        shutil.rmtree(folder, ignore_errors=True)


def _settle(job: Job, store: Store, lock: int, display: Display, halve: bool) -> Record:
    """The record of the cell, or of the one that it gave way to. What did not fit before is not tried again where it
    may be halved."""
    smaller, record = job.halved() if halve else None, store.load(job.cell)
    if record is None or (record.status != "done" and (smaller is None or record.status != "out-of-memory")):
        record = _run_one(job, store, lock, display)
    if smaller is None or record.status != "out-of-memory":
        return record
    display.note(f"{record.reason}; now with {smaller.cell.recipe['accumulate']} micro-batches a batch")
    return _settle(smaller, store, lock, display, halve)


def _run_one(job: Job, store: Store, lock: int, display: Display) -> Record:
    """The cell's record as its worker left it; where the worker died without one, a record that says so."""
    for stale in (store.path(job.cell), job.traceback):  # of an earlier failure
        stale.unlink(missing_ok=True)
    ended = run_worker(job, lock, display.event)
    if ended.code == UNWRITABLE:
        last = ended.said.strip().splitlines()[-1]
        raise BarbenchError(
            f"cannot write to {job.results}: {last}. What was kept stays; the same command goes on from it"
        )
    record = store.load(job.cell)
    if record is None:
        record = job.failure(*death(ended), peak_memory_bytes=ended.peak_bytes)
        store.save(record)
    if record.status == "failed" and "Traceback" in ended.said:
        job.scratch.mkdir(parents=True, exist_ok=True)
        job.traceback.write_text(ended.said)
    return record
