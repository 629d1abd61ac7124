"""A small matrix as `barbench run` would run it, in a process that can be killed: data drawn, two cells, three splits.

The fork server and its workers are real processes, started by the runner's own code; but the server is forked from this
one, which has imported everything already, so that a life takes seconds.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from barbench.benchmarks import forked, worker
from barbench.benchmarks.forkserver import serve
from barbench.benchmarks.job import Job
from barbench.benchmarks.matrix import Host, Matrix, choose_tasks
from barbench.benchmarks.runner import run_jobs
from barbench.benchmarks.stopping import interruptible
from barbench.datasets.shapes import ShapesSpec
from barbench.datasets.sources import DataSource, cache_folder, shapes_source
from barbench.engine.recipe import parse_recipe
from barbench.methods.resolve import resolve
from barbench.results.record import Record

SPEC = ShapesSpec(train=16, val=3, testA=3, testB=3, sides=(64, 96), seed=3)
RECIPE = {"epochs": 3, "batch": 8, "lr": 1e-3, "optimizer": "adamw"}


def jobs(work: Path, backbone: Path) -> list[Job]:
    """The cells; the data need not be there yet."""
    source = DataSource("shapes", cache_folder() / f"shapes-{SPEC.fingerprint()}", SPEC.fingerprint())
    recipe, protocols = parse_recipe("test", RECIPE), choose_tasks("refcoco+")
    matrix = Matrix(resolve("head-only,snf"), [str(backbone)], protocols, [0], recipe, weights="random")
    host = Host(work / "results", "cpu", 1, 1, 0, checkpoint_seconds=0.0)
    return matrix.jobs({"refcoco+": source}, host)


class Forked(subprocess.Popen[bytes]):
    """The fork server, forked instead of started anew."""

    def __init__(self, command: list[str], *, pass_fds: Sequence[int], **options: Any) -> None:
        def become_server() -> None:
            code = 1
            try:
                for name in os.listdir("/proc/self/fd"):
                    if int(name) > 2 and int(name) not in pass_fds:
                        with contextlib.suppress(OSError):
                            os.close(int(name))  # among them the pipe by which Popen waits for an exec
                code = serve(socket.socket(fileno=int(command[-1])), worker.main)
            except BaseException:
                traceback.print_exc()
            os._exit(code)

        sys.stdout.flush()
        super().__init__(["/bin/false"], pass_fds=pass_fds, preexec_fn=become_server, **options)


class Events:
    """A display that prints what it is told as JSON lines."""

    def say(self, **event: Any) -> None:
        print(json.dumps(event), flush=True)

    def begin(self, waiting: Sequence[Job], finished: int) -> None:
        self.say(event="begin", waiting=len(waiting), finished=finished)

    def start(self, job: Job) -> None:
        self.say(event="start", method=job.cell.method)

    def event(self, event: dict[str, Any]) -> None:
        self.say(**event)

    def end(self, record: Record) -> None:
        self.say(event="end", status=record.status, reason=record.reason)

    def note(self, text: str) -> None:
        self.say(event="note", text=text)


def run(work: Path, backbone: Path) -> int:
    """0 where every cell is done."""
    forked.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": Forked})  # type: ignore[assignment]
    events = Events()
    with interruptible():
        shapes_source(SPEC, lambda done, total: events.say(event="drawing", done=done, total=total))
        records = run_jobs(jobs(work, backbone), work / "results", events)
    return int(any(record.status != "done" for record in records))
