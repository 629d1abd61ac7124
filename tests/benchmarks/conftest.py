"""Small jobs for the runner, and a display that remembers what it was told."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from barbench.benchmarks.cell import run_cell
from barbench.benchmarks.execution.worker.signals import StopSignal
from barbench.benchmarks.job import Job
from barbench.results.record import Record
from barbench.results.store import Store
from barbench.spec.recipe import parse_recipe
from tests.benchmarks.benchmark_comparison import pytest_sessionfinish
from tests.benchmarks.small_matrix import small_cells

__all__ = ["pytest_sessionfinish"]  # a hook

# A method of a user's own, one that trains, one that fails when it is built into a model.
OWN = """
import torch
from torch import nn
from barbench.methods.base import Component


class Scale(Component):
    label = "Scale"

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def shortcut(self, site, x):
        return x * self.scale


class Broken(Component):
    label = "Broken"

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.ones(1))  # a method that tunes nothing is refused earlier

    def before_block(self, step, vision, text, carry):
        raise ArithmeticError("the broken method was walked")


def scale():
    return (Scale(),)


def broken():
    return (Broken(),)
"""


class Told:
    """A display that keeps everything."""

    def __init__(self) -> None:
        self.begun: list[tuple[list[str], int]] = []
        self.started: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.ended: list[Record] = []
        self.notes: list[str] = []

    def begin(self, jobs: Sequence[Job], finished: int) -> None:
        self.begun.append(([job.cell.method for job in jobs], finished))

    def start(self, job: Job) -> None:
        self.started.append(job.cell.method)

    def event(self, job: Job, event: dict[str, Any]) -> None:
        self.events.append(event)
        if event["event"] == "note":
            self.notes.append(event["text"])

    def end(self, job: Job, record: Record) -> None:
        self.ended.append(record)

    def note(self, text: str) -> None:
        self.notes.append(text)


MakeJobs = Callable[..., list[Job]]


@pytest.fixture(scope="session")
def make_jobs(shapes_root: Path, backbone_folder: Path) -> MakeJobs:
    """Jobs on `refcocog-g`, which has one evaluation split."""

    def make(results: Path, methods: str = "head-only", root: Path = shapes_root, **recipe: Any) -> list[Job]:
        fields: dict[str, Any] = {"epochs": 1, "batch": 16, "lr": 1e-3}
        chosen = parse_recipe("test", fields | recipe)
        return small_cells(root, backbone_folder, chosen, results, methods, place={"checkpoint_seconds": 0.0})

    return make


@pytest.fixture(scope="session")
def own_methods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the module `own_methods_of_a_user`; workers find it when they run there."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "own_methods_of_a_user.py").write_text(OWN)
    return folder


@pytest.fixture(scope="session")
def finished(make_jobs: MakeJobs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    """A results folder with one cell, trained in this process; not to be changed by a test."""
    store = Store(tmp_path_factory.mktemp("finished"))
    AcceleratorState._reset_state()  # another test may have wished for bf16
    (job,) = make_jobs(store.folder, "etris", threshold=0.12)  # so low that a model so young finds something
    outcome = run_cell(job, lambda event: None, StopSignal().at_steps)
    assert outcome is not None
    store.save(*outcome)
    return store, outcome[0]
