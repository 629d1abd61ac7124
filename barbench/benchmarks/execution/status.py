"""The runs under way in a results folder, from files and one call of the executor; `barbench status` and `stop`."""

from pathlib import Path
from typing import Any

from barbench.benchmarks.execution.executors.base import State
from barbench.benchmarks.execution.executors.make import executor_class
from barbench.benchmarks.execution.run_folder import RunFolder
from barbench.errors import UnknownName, UsageError
from barbench.spec.text import plural


def status(results: Path) -> list[dict[str, Any]]:
    """The cells of every run under way.

    Args:
        results: folder of the records.

    Returns:
        Per cell: `run`, `executor`, `cell`, `state` (waiting, running, stopping, done, or how its last attempt ended;
            `orphaned` where the command that began the run has ended and nothing runs without it), `attempt`, `host` as
            records have it, `step` and `epoch`.
    """
    rows = []
    for run in RunFolder.all(results):
        executor = executor_class(run.executor)
        jobs = _jobs(run)
        states = executor.states(list(jobs.values()))
        orphaned = not executor.detaches and run.is_led() is False
        for cell, stem in run.cells.items():
            state = _state(run, cell, results / f"{stem}.json", states.get(jobs.get(cell, "")))
            if orphaned and state["state"] in ("waiting", "running"):
                state["state"] = "orphaned"
            rows.append({"run": run.id, "executor": run.executor, "cell": stem} | state)
    return rows


def _jobs(run: RunFolder) -> dict[str, str]:
    """The executor's job of each cell that has one, by the cell's id."""
    return {cell: str(handle["job"]) for cell, handle in run.handles.items()}


def _state(run: RunFolder, cell: str, record: Path, queued: State | None) -> dict[str, Any]:
    found: dict[str, Any] = {"state": "waiting", "attempt": None, "host": None, "epoch": "", "step": ""}
    for event in run.events(cell).new():
        match event["event"]:
            case "attempt":
                found |= {"state": "running", "attempt": event["number"], "host": event["host"]}
            case "step":
                found["epoch"] = f"{event['epoch']}/{event['epochs']}"
                found["step"] = f"{event['step']}/{event['steps']}"
            case "phase":
                found["step"] = event["name"]
                if "share" in event:
                    found["step"] += f", {event['share']:.0%}"
            case "ended":
                found["state"] = event["how"]

    # Files and the queue know better than the last event.
    if record.exists() and found["state"] in ("waiting", "running"):
        found["state"] = "done"
    elif queued == "waiting":
        found["state"] = "waiting"
    elif found["state"] == "running" and run.asked_to_stop(cell):
        found["state"] = "stopping"
    return found


def find_run(results: Path, name: str | None) -> RunFolder:
    """The run of that name; None: the only one. UsageError or UnknownName where there is none such."""
    runs = {run.id: run for run in RunFolder.all(results)}
    if not runs:
        raise UsageError(f"no run is under way in {results}")
    if name is None:
        if len(runs) > 1:
            raise UsageError(f"several runs are under way in {results}; name one of {', '.join(runs)}")
        return next(iter(runs.values()))
    if name not in runs:
        raise UnknownName("run", name, runs)
    return runs[name]


def stop(run: RunFolder, cells: list[str]) -> str:
    """Ask cells to keep a checkpoint and end.

    Args:
        run: of them.
        cells: ids, stems, or their beginnings; none: all of the run.

    Returns:
        What was done, for the user.

    Raises:
        UsageError: for a name that fits no cell of the run.
    """
    chosen = [_cell(run, name) for name in cells]

    # Jobs that wait in a queue look at no file.
    executor = executor_class(run.executor)
    jobs = _jobs(run)
    states = executor.states(list(jobs.values()))
    queued = [job for cell, job in jobs.items() if job in states and (not chosen or cell in chosen)]
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
    found = [cell for cell, stem in run.cells.items() if cell.startswith(name) or stem.startswith(name)]
    if len(found) != 1:
        raise UsageError(f"{name!r} fits {len(found) or 'no'} cells of run {run.id}; barbench status names them")
    return found[0]
