"""A small matrix as `barbench run` would run it, in a process that can be killed: data drawn, two cells, three splits.

The workers are real processes, started by the runner's own code; but they are forked from this one, which has imported
everything already, so that a life takes seconds.
"""

import contextlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from barbench.benchmarks.execution.executors.local import Local
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.run import run_jobs
from barbench.benchmarks.execution.worker import main as worker
from barbench.benchmarks.execution.worker import process
from barbench.benchmarks.execution.worker.signals import interruptible
from barbench.benchmarks.job import Job
from barbench.benchmarks.matrix import Part, cells_of, choose_datasets
from barbench.datasets.shapes import ShapesSpec
from barbench.datasets.sources import DataSource, cache_folder, shapes_source
from barbench.methods.resolve import resolve
from barbench.results.record import Record
from barbench.spec.recipe import parse_recipe
from barbench.spec.run import Place, Run

SPEC = ShapesSpec(train=16, val=3, testA=3, testB=3, sides=(64, 96), seed=3)
RECIPE = {"epochs": 3, "batch": 8, "lr": 1e-3, "optimizer": "adamw"}


def jobs(work: Path, backbone: Path) -> list[Job]:
    """The cells; the data need not be there yet."""
    source = DataSource("shapes", cache_folder() / f"shapes-{SPEC.fingerprint()}", SPEC.fingerprint())
    part = Part(
        methods=resolve("head-only,snf"),
        options={},
        backbones=[str(backbone)],
        weights="random",
        datasets=choose_datasets(["refcoco+"]),
        recipe=parse_recipe("test", RECIPE),
    )
    place = Place(results=work / "results", device="cpu", threads=1, workers=0, cache=None, checkpoint_seconds=0.0)
    return cells_of(Run(), place, [part], {"refcoco+": source})


class Forked(process.Worker):
    """A worker, forked from the runner instead of started anew."""

    def __init__(self, command: list[str], errors: IO[bytes], lock: int, gpus: Sequence[str] = ()) -> None:
        def become_worker() -> None:
            code = 1
            try:
                for name in os.listdir("/proc/self/fd"):
                    if int(name) > 2 and int(name) != lock:
                        with contextlib.suppress(OSError):
                            os.close(int(name))  # among them the pipe by which Popen waits for an exec
                code = worker.main(Path(command[-1]))
            except BaseException:
                traceback.print_exc()
            os._exit(code)

        sys.stdout.flush()
        subprocess.Popen.__init__(
            self,
            ["/bin/false"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=(lock,),
            start_new_session=True,
            preexec_fn=become_worker,
        )


class Events:
    """A display that prints what it is told as JSON lines."""

    def say(self, **event: Any) -> None:
        print(json.dumps(event), flush=True)

    def begin(self, waiting: Sequence[Job], finished: int) -> None:
        self.say(event="begin", waiting=len(waiting), finished=finished)

    def start(self, job: Job) -> None:
        self.say(event="start", method=job.cell.method)

    def event(self, job: Job, event: dict[str, Any]) -> None:
        self.say(**event)

    def end(self, job: Job, record: Record) -> None:
        self.say(event="end", status=record.status, reason=record.reason)

    def note(self, text: str) -> None:
        self.say(event="note", text=text)


def run(work: Path, backbone: Path, slots: int) -> int:
    """0 where every cell is done."""
    process.Worker = Forked  # type: ignore[misc]
    events = Events()
    with interruptible():
        shapes_source(SPEC, lambda done, total: events.say(event="drawing", done=done, total=total))
        records = run_jobs(jobs(work, backbone), work / "results", events, executor=Local([Slot()] * slots))
    return int(any(record.status != "done" for record in records))
