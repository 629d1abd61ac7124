"""What the runs of a results folder are doing, from files and one call of the executor. `barbench status` prints it."""

from pathlib import Path
from typing import Any

from barbench.benchmarks.execution.executors.base import State
from barbench.benchmarks.execution.executors.make import executor_class
from barbench.benchmarks.execution.run_folder import RunFolder
from barbench.errors import UnknownName, UsageError


def status(results: Path) -> list[dict[str, Any]]:
    """The cells of every run under way.

    Args:
        results: folder of the records.

    Returns:
        Per cell: `run`, `executor`, `cell`, `state` (waiting, running, stopping, done, or how its last attempt ended;
            `led by nobody` where the command that began the run is gone and nothing runs without it), `attempt`,
            `host` as records have it, `step` and `epoch`.
    """
    rows = []
    for run in RunFolder.all(results):
        executor = executor_class(run.executor)
        jobs = {cell: str(handle["job"]) for cell, handle in run.handles.items()}
        states = executor.states(list(jobs.values()))
        orphan = not executor.detaches and run.is_led() is False
        for cell, stem in run.cells.items():
            queued = states.get(jobs.get(cell, ""))
            state = _state(run, cell, results / f"{stem}.json", queued)
            rows.append({"run": run.id, "executor": run.executor, "cell": stem} | state)
            if orphan and state["state"] in ("waiting", "running"):
                rows[-1]["state"] = "led by nobody"
    return rows


def _state(run: RunFolder, cell: str, record: Path, queued: State | None) -> dict[str, Any]:
    found: dict[str, Any] = {"state": "waiting", "attempt": None, "host": None, "epoch": "", "step": ""}
    for event in run.events(cell).new():
        if event["event"] == "attempt":
            found |= {"state": "running", "attempt": event["number"], "host": event["host"]}
        elif event["event"] == "step":
            found |= {"epoch": f"{event['epoch']}/{event['epochs']}", "step": f"{event['step']}/{event['steps']}"}
        elif event["event"] == "phase":
            found["step"] = event["name"] + (f", {event['share']:.0%}" if "share" in event else "")
        elif event["event"] == "ended":
            found["state"] = event["how"]
    if record.exists() and found["state"] in ("waiting", "running"):
        found["state"] = "done"
    elif queued == "waiting":
        found["state"] = "waiting"
    elif found["state"] == "running" and run.asked_to_stop(cell):
        found["state"] = "stopping"
    return found


def find_run(results: Path, name: str | None) -> RunFolder:
    """The run of that name, or the only one.

    Args:
        results: folder of the records.
        name: of a run; None where there is one.

    Returns:
        Its folder.

    Raises:
        UsageError: where there is none, or more than one to choose from.
        UnknownName: for a name that no run has.
    """
    runs = {run.id: run for run in RunFolder.all(results)}
    if not runs:
        raise UsageError(f"no run is under way in {results}")
    if name is None and len(runs) > 1:
        raise UsageError(f"several runs are under way in {results}; name one of {', '.join(runs)}")
    if name is not None and name not in runs:
        raise UnknownName("run", name, runs)
    return runs[name] if name is not None else next(iter(runs.values()))


def stop(run: RunFolder, cells: list[str]) -> str:
    """Ask cells to keep a checkpoint and end.

    Args:
        run: of them.
        cells: ids, stems, or their beginnings; none: all of the run.

    Returns:
        What was done, in words.

    Raises:
        UsageError: for a name that fits no cell of the run.
    """
    chosen = [_cell(run, name) for name in cells]
    jobs = {cell: str(handle["job"]) for cell, handle in run.handles.items()}
    executor = executor_class(run.executor)
    states = executor.states(list(jobs.values()))
    executor.cancel_waiting([job for cell, job in jobs.items() if job in states and (not chosen or cell in chosen)])
    if not chosen and run.is_led() is False and "running" not in states.values():
        run.remove()
        return f"run {run.id} had ended; its folder is removed"
    for cell in chosen:
        run.ask_to_stop(cell)
    if not chosen:
        run.ask_to_stop()
    what = f"{len(chosen)} cell{'s' * (len(chosen) != 1)} of run {run.id}" if chosen else f"run {run.id}"
    return f"{what} asked to stop; each cell keeps a checkpoint, and `barbench run` goes on from it"


def _cell(run: RunFolder, name: str) -> str:
    found = [cell for cell, stem in run.cells.items() if cell.startswith(name) or stem.startswith(name)]
    if len(found) != 1:
        raise UsageError(f"{name!r} fits {len(found) or 'no'} cells of run {run.id}; barbench status names them")
    return found[0]
