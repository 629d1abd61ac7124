"""Fake cells for the executors, and a run of them: what a cell does stands in its recipe, under `name`.

ok        steps, and a record
fail      a record that says so
die       ended by a signal, every time
die-once  so at first, then as ok
refuse    says that this host cannot run it
wait      steps on until it is asked to stop, then a checkpoint
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from barbench.benchmarks.execution.attempt import Attempt
from barbench.benchmarks.execution.executors.base import Executor
from barbench.benchmarks.execution.run import run_jobs
from barbench.benchmarks.execution.run_folder import RunFolder
from barbench.benchmarks.execution.worker import process
from barbench.benchmarks.job import Job
from barbench.results.record import Record
from tests.benchmarks.conftest import Told
from tests.results.test_store import record

REPOSITORY = Path(__file__).parents[4]
CELL = """
import json, os, signal, sys, threading, time
from pathlib import Path

def say(**event):
    print(json.dumps(event), flush=True)

def step(number, steps=9):
    say(event="step", epoch=1, epochs=1, step=number, steps=steps, loss=1.0, iou=0.5, lr=1.0)

asked = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: asked.set())
signal.signal(signal.SIGUSR2, lambda *_: asked.set())
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(3)), daemon=True).start()
path = Path(sys.argv[1])
fields = json.loads(path.read_text())
kind, scratch = fields["cell"]["recipe"]["name"], Path(sys.argv[2])
(scratch / "gpus").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
with (scratch / "tries").open("a") as tries:
    print(time.monotonic(), "begun", file=tries)
first = 1 + (scratch / "checkpoint.pt").exists()
step(first)
if kind == "refuse":
    say(event="exit", how="refused", reason="no GPU")
    os._exit(75)
if kind == "die" or (kind == "die-once" and len((scratch / "tries").read_text().splitlines()) < 2):
    os.kill(os.getpid(), signal.SIGSEGV)
if kind == "wait" and first == 1:
    asked.wait(60)
    (scratch / "checkpoint.pt").write_text("kept")
    say(event="exit", how="stopped", reason="")
    os._exit(75)
step(first + 1, first + 1)
time.sleep(0.1)
record = json.loads((scratch / "prepared.json").read_text()) | {"attempts": fields["attempts"]}
if kind == "fail":
    record = json.loads((scratch / "failed.json").read_text())
target = Path(fields["place"]["results"]) / f"{scratch.name}.json"
(scratch / "whole").write_text(json.dumps(record))
(scratch / "whole").rename(target)
with (scratch / "tries").open("a") as tries:
    print(time.monotonic(), "ended", file=tries)
"""


def command(job: Job, path: Path) -> list[str]:
    return [sys.executable, "-c", CELL, str(path), str(job.scratch)]


def cells(job: Job, kinds: Sequence[str]) -> list[Job]:
    """One cell of each kind, with a seed of its own. What it leaves is prepared here: a fake cell imports nothing."""
    made = [
        job.model_copy(update={"cell": job.cell.model_copy(update={"seed": seed, "recipe": recipe})})
        for seed, kind in enumerate(kinds)
        for recipe in [job.cell.recipe | {"name": kind}]
    ]
    for each in made:
        each.scratch.mkdir(parents=True, exist_ok=True)
        (each.scratch / "prepared.json").write_text(record(each.cell).model_dump_json())
        (each.scratch / "failed.json").write_text(each.failure("failed", "as it was asked").model_dump_json())
    return made


def run(jobs: Sequence[Job], executor: Executor, retries: int = 0, told: Told | None = None) -> list[Record]:
    return run_jobs(jobs, jobs[0].results, told or Told(), executor=executor, retries=retries)


def attempt_at(job: Job, code: str | None = None) -> Attempt:
    run = RunFolder.make(job.results, "local", {job.cell.id(): job.cell.stem()}, "")
    return Attempt(job=job, run=run.id, executor="local", code=code)


def tries(job: Job, what: str = "begun") -> list[float]:
    """When the cell was begun, or ended, each time."""
    lines = (job.scratch / "tries").read_text().splitlines()
    return [float(line.split()[0]) for line in lines if line.endswith(what)]


HOOK = """
import sys
if "submitit.core._submit" in sys.orig_argv or any("default_worker" in a for a in sys.orig_argv):
    from pathlib import Path
    from barbench.benchmarks.execution.worker import process
    cell = Path(__file__).with_name("cell").read_text()
    process._command = lambda job, path: [sys.executable, "-c", cell, str(path), str(job.scratch)]
"""


def fake(monkeypatch: Any, hook: Path | None = None) -> None:
    """Workers of this process are fake cells; with a folder `hook`, also those of the tasks of Slurm and Ray."""
    monkeypatch.setenv("PYTHONPATH", f"{hook}:{REPOSITORY}" if hook else str(REPOSITORY))
    monkeypatch.setattr(process, "_command", command)
    if hook is not None:
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK)
        (hook / "cell").write_text(CELL)
