"""The runs under way in a results folder, from files and one call of the executor; `barbench status` and `stop`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from barbench.benchmarks.execution.display import clock, outcome, scoring, steps_done
from barbench.benchmarks.execution.executors.base import State
from barbench.benchmarks.execution.executors.make import executor_class
from barbench.benchmarks.execution.run_folder import RunFolder
from barbench.errors import UnknownName, UsageError
from barbench.results.record import Record
from barbench.spec.run import TUNING
from barbench.spec.text import plural

_ACTIVE: Final = ("waiting", "running", "stopping")
_HAS_RECORD: Final = ("done", "failed", "out-of-memory")


class CellState(NamedTuple):
    """What is known of a cell of a run.

    Attributes:
        state: waiting, running, stopping, done, failed, out-of-memory, or how its last attempt ended (stopped, lost,
            refused, unwritable); `orphaned` where the command that began the run has ended and nothing runs without it.
        epoch: `1/2`, empty before the first step.
        step: `3/9`, or the phase that is under way.
        loss: the mean over the epoch so far.
        left: seconds of training left, by the pace of this attempt.
        result: mean IoU of each split, or why there is none; empty until it has a record.
    """

    state: str = "waiting"
    attempt: int | None = None
    host: str | None = None
    epoch: str = ""
    step: str = ""
    loss: float | None = None
    left: float | None = None
    result: str = ""

    @property
    def is_active(self) -> bool:
        """Whether something is still to come of it."""
        return self.state in _ACTIVE


class RunState(NamedTuple):
    """A run and its cells, by their stems."""

    run: RunFolder
    cells: dict[str, CellState]

    @property
    def is_over(self) -> bool:
        """Whether none of its cells waits or runs."""
        return not any(cell.is_active for cell in self.cells.values())

    @property
    def is_complete(self) -> bool:
        """Whether each of its cells has a record, and nothing more will come."""
        return all(cell.state in _HAS_RECORD for cell in self.cells.values())

    def __str__(self) -> str:
        states = [cell.state for cell in self.cells.values()]
        counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        return f"run {self.run.id} ({self.run.executor}): {', '.join(counts)}"


def runs(results: Path) -> list[RunState]:
    """The runs of a results folder, and of the search in it, oldest first; also those that are over and still there."""
    return [look(run) for folder in _folders(results) for run in RunFolder.all(folder)]


def look(run: RunFolder, is_led: bool | None = None) -> RunState:
    """The state of each cell of a run, from its files and one call of its executor.

    Args:
        is_led: whether the process that leads it is alive; None: as far as this host knows.
    """
    if is_led is None:
        is_led = run.is_led()
    executor = executor_class(run.executor)
    jobs = _jobs(run)
    states = executor.states(list(jobs.values()))
    cells = {}
    for cell, stem in run.cells.items():
        queued = None if states is None else states.get(jobs.get(cell, ""))
        found = _state(run, cell, run.results / f"{stem}.json", queued)
        # Jobs that outlive their command need nobody to lead them.
        needs_leader = not executor.detaches or cell not in jobs
        if found.is_active and needs_leader and is_led is False:
            found = found._replace(state="orphaned")
        cells[stem] = found
    return RunState(run, cells)


def rows(states: Sequence[RunState]) -> list[dict[str, Any]]:
    """A row per cell, for programs: `run`, `executor`, `cell`, and the fields of `CellState`."""
    found = []
    for state in states:
        head = {"run": state.run.id, "executor": state.run.executor}
        for stem, cell in state.cells.items():
            found.append(head | {"cell": stem} | cell._asdict())
    return found


def short_rows(state: RunState) -> list[dict[str, str]]:
    """A row per cell of a run, for people: what it does in one text."""
    found = []
    for stem, cell in state.cells.items():
        found.append({"cell": stem, "state": cell.state, "progress": _progress(cell)})
    return found


def _progress(cell: CellState) -> str:
    if cell.result:
        return cell.result
    parts = []
    if cell.epoch:
        parts.append(f"epoch {cell.epoch}")
    if cell.step:
        parts.append(f"step {cell.step}" if cell.step[0].isdigit() else cell.step)
    if cell.loss is not None:
        parts.append(f"loss {cell.loss:.4f}")
    if cell.left is not None:
        parts.append(f"left {clock(cell.left)}")
    return ", ".join(parts)


def _folders(results: Path) -> list[Path]:
    """Where runs of a results folder are: there, and where `barbench tune` keeps its trials."""
    return [results, results / TUNING]


def _jobs(run: RunFolder) -> dict[str, str]:
    """The executor's job of each cell that has one, by the cell's id."""
    return {cell: str(handle["job"]) for cell, handle in run.handles.items()}


def _state(run: RunFolder, cell: str, path: Path, queued: State | None) -> CellState:
    """What the events of a cell say, its record, and the queue: None where that does not answer or has no job of it."""
    # The cell's own account: each event replaces what an earlier one said.
    found = CellState()
    first: tuple[float, int] | None = None  # time and number of the attempt's first step
    for event in run.events(cell).new():
        match event["event"]:
            case "attempt":
                # A cell that runs with smaller micro-batches has a record of its own.
                path = path.with_name(f"{event['record']}.json") if "record" in event else path
                found = CellState("running", event["number"], event["host"])
                first = None
            case "step":
                steps = steps_done(event)
                now = float(event.get("time", 0.0))
                first = first or (now, steps)
                found = found._replace(
                    epoch=f"{event['epoch']}/{event['epochs']}",
                    step=f"{event['step']}/{event['steps']}",
                    loss=event.get("loss"),
                    left=_left(now - first[0], steps - first[1], event["epochs"] * event["steps"] - steps),
                )
            case "scored":
                found = found._replace(step=scoring(event), left=None)
            case "phase":
                share = f", {event['share']:.0%}" if "share" in event else ""
                found = found._replace(step=f"{event['name']}{share}", left=None)
            case "done":
                found = found._replace(state="done")
            case "failed":
                found = found._replace(state=event["status"])
            case "ended":
                found = found._replace(state=event["how"])

    # Files and the queue know better than the last event. A record is removed when an attempt begins, so that one that
    # is there is this attempt's; before the first attempt, only a finished cell will not be tried again.
    record = _record(path)
    if record is not None and found.state == "running":
        found = found._replace(state=record.status)
    elif record is not None and record.status == "done":
        found = found._replace(state="done")
    elif queued == "waiting":
        found = found._replace(state="waiting")
    elif queued == "gone" and found.is_active:
        found = found._replace(state="lost")
    elif found.state == "running" and run.asked_to_stop(cell):
        found = found._replace(state="stopping")
    if record is not None and found.state in _HAS_RECORD:
        found = found._replace(result=outcome(record), left=None)
    return found


def _left(seconds: float, steps: int, to_come: int) -> float | None:
    """Seconds that the steps to come will take; None where none was timed."""
    return seconds / steps * to_come if steps > 0 and seconds > 0 else None


def _record(path: Path) -> Record | None:
    """The record in a file, which is left as it is; None where there is none that can be read."""
    try:
        return Record.read(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None


def damaged_runs(results: Path) -> list[str]:
    """A line for each run of which it is not known what it runs; its file is left as it is."""
    lines = []
    for folder in _folders(results):
        for run in RunFolder.damaged(folder):
            lines.append(f"{run.file} cannot be read ({run.fault}); the next `barbench run` there sets it aside")
    return lines


def find_run(results: Path, name: str | None) -> RunFolder:
    """The run of that name; None: the only one. UsageError or UnknownName where there is none such."""
    found = {run.id: run for folder in _folders(results) for run in RunFolder.all(folder)}
    if not found:
        raise UsageError(f"no run is under way in {results}")
    if name is None:
        if len(found) > 1:
            raise UsageError(f"several runs are under way in {results}; name one of {', '.join(found)}")
        return next(iter(found.values()))
    if name not in found:
        raise UnknownName("run", name, found)
    return found[name]


def stop(run: RunFolder, cells: list[str]) -> str:
    """Ask cells, by ids, stems, or their beginnings, to keep a checkpoint and end; without names all of the run.
    UsageError for a name that fits no cell of the run, and where the queue does not answer."""
    chosen = [_cell(run, name) for name in cells]

    # Jobs that wait in a queue look at no file.
    executor = executor_class(run.executor)
    jobs = _jobs(run)
    states = executor.states(list(jobs.values()))
    if states is None:
        raise UsageError(f"the queue of {run.executor} does not answer; give the command again later")
    there = [cell for cell, job in jobs.items() if states.get(job, "gone") != "gone"]
    queued = [jobs[cell] for cell in there if not chosen or cell in chosen]
    executor.cancel_waiting(queued)

    if not chosen:
        if run.is_led() is False and "running" not in states.values():
            run.remove()
            return f"run {run.id} had ended; its folder is removed"
        run.ask_to_stop()
    for cell in chosen:
        run.ask_to_stop(cell)
    what = f"{plural(len(chosen), 'cell')} of run {run.id}" if chosen else f"run {run.id}"
    return f"{what} asked to stop; each cell keeps a checkpoint, and `barbench run` resumes from it"


def _cell(run: RunFolder, name: str) -> str:
    found = []
    for cell, stem in run.cells.items():
        if cell.startswith(name) or stem.startswith(name):
            found.append(cell)
    if len(found) != 1:
        raise UsageError(f"{name!r} fits {len(found) or 'no'} cells of run {run.id}; barbench status names them")
    return found[0]
