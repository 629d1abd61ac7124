"""What a tracker gets of a cell, and that a broken one costs nothing."""

import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from accelerate import PartialState

from barbench.benchmarks.execution.launch import prepare
from barbench.benchmarks.execution.run import run_jobs
from barbench.benchmarks.execution.worker.trackers import Tracked
from barbench.benchmarks.job import Job
from barbench.errors import UsageError
from tests.benchmarks.conftest import MakeJobs, Told
from tests.results.test_store import record

STEP = {"event": "step", "epoch": 2, "epochs": 2, "step": 3, "steps": 5, "loss": 0.5, "iou": 0.25, "lr": 1e-4}


class Remembering(ModuleType):
    """In place of wandb or trackio: keeps what it is told."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.began: dict[str, Any] = {}
        self.config, self.logged, self.finished = dict[str, Any](), list[tuple[int, dict[str, float]]](), 0

    def init(self, **fields: Any) -> Any:
        self.began = fields
        return SimpleNamespace(log=lambda values, step: self.logged.append((step, values)), finish=self.finish)

    def finish(self) -> None:
        self.finished += 1


class Config(dict[str, Any]):
    def update(self, values: Any, allow_val_change: bool) -> None:
        super().update(values)


@pytest.fixture
def job(make_jobs: MakeJobs, tmp_path: Path) -> Job:
    return make_jobs(tmp_path)[0]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_one_offline_run_for_a_cell(name: str, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Remembering(name)
    module.config = Config()
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    notes: list[str] = []
    PartialState(cpu=True)  # as in a worker by its first step
    tracked = Tracked(job.at(tracker=name), notes.append)
    tracked.add({"event": "phase", "name": "loading"})
    assert not module.began, "accelerate may not know its device yet"
    tracked.add(STEP)
    tracked.end(record(job.cell))
    tracked.close()
    assert notes == []
    assert (module.began["project"], module.began["name"]) == ("barbench", job.cell.stem())
    assert module.began["resume"] == "allow"
    if name == "wandb":
        assert (module.began["mode"], module.began["id"]) == ("offline", job.cell.id())
        assert module.began["dir"] == job.results
    else:
        assert "space_id" not in module.began, "it stays on this host"
    assert module.config["seed"] == 0
    assert module.config["recipe.lr"] == 1e-3
    assert module.logged == [
        (8, {"train/loss": 0.5, "train/iou": 0.25, "train/lr": 1e-4}),
        (8, {"val/miou": 1 / 3, "val/oiou": 0.1 + 0.2}),
    ]
    assert module.finished == 1


def test_tensorboard_reads_what_the_record_says(job: Job) -> None:
    """A real cell; its files as TensorBoard's own reader sees them."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    [done] = run_jobs([job.at(tracker="tensorboard")], job.results, Told())
    assert done.status == "done", done.reason
    events = reader.EventAccumulator(str(job.results / "tensorboard" / job.cell.stem()))
    events.Reload()
    losses = events.Scalars("train/loss")
    steps = sum(epoch.steps for epoch in done.history)
    assert [e.step for e in losses] == list(range(1, steps + 1))
    assert losses[-1].value == pytest.approx(done.history[0].loss, rel=1e-6), "means over the epoch so far"
    for split, result in done.splits.items():
        [score] = events.Scalars(f"{split}/miou")
        assert (score.step, score.value) == (steps, pytest.approx(result.scores.miou, rel=1e-6))


def test_a_tracker_that_fails_is_given_up_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Remembering):
        def init(self, **fields: Any) -> Any:
            raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "wandb", Broken("wandb"))
    notes: list[str] = []
    tracked = Tracked(job.at(tracker="wandb"), notes.append)
    for _ in range(3):
        tracked.add(STEP)
    tracked.end(record(job.cell))
    tracked.close()
    assert notes == ["wandb is given up (ConnectionError: no route); the record has everything"]


def test_a_tracker_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, make_jobs: MakeJobs, tmp_path: Path) -> None:
    monkeypatch.setattr("barbench.benchmarks.execution.launch.find_spec", lambda name: None)
    [job] = make_jobs(tmp_path)
    with pytest.raises(UsageError, match=r"^--tracker wandb needs wandb: pip install 'barbench\[trackers\]'"):
        prepare([job.at(tracker="wandb")])
