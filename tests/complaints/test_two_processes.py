"""Two processes: no parameter without a gradient, gradients of the whole batch, and patience with a slow one.

Complaints 2 (peft#905, peft#1612) and 6 (accelerate#3861).
"""

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from barbench.benchmarks.execution.run import run_jobs
from barbench.benchmarks.execution.worker.main import waited_too_long
from barbench.datasets.pixels.letterbox import normalized
from barbench.datasets.samples import TrainBatch
from barbench.engine.accelerator import make_accelerator
from barbench.models.segmenter import Segmenter, training_loss
from barbench.spec.recipe import parse_recipe
from tests.benchmarks.conftest import Told
from tests.benchmarks.small_matrix import small_cells
from tests.complaints.complaints import each_method, judge
from tests.complaints.steps import make_stepper, train_batch, without_chance
from tests.complaints.two_processes import COUNT, in_two_processes
from tests.contract.test_contract import BATCH_DEPENDENT, built, perturb

REPOSITORY = Path(__file__).parents[2]
SHARE = 2
"""Samples of a process."""
MASKS = {"objects": (False, False), "one process without an object": (False, True), "no object": (True, True)}
"""Kind of step -> whether the masks of each process are empty."""


def batches(seed: int, empty: tuple[bool, ...]) -> list[TrainBatch]:
    """One for each process."""
    return [train_batch(seed + rank, SHARE, empty[rank]) for rank in range(COUNT)]


def gradient_alone(segmenter: Segmenter, parts: list[TrainBatch]) -> dict[str, Tensor]:
    """Of one process that has the whole batch."""
    images, ids, masks = (torch.cat(column) for column in list(zip(*parts, strict=True))[:3])
    loss = training_loss(segmenter.train()(normalized(images, segmenter.normalization), ids), masks)
    tuned = segmenter.tuned_parameters()
    return dict(zip(tuned, torch.autograd.grad(loss, list(tuned.values())), strict=True))


def unlike_one_process(name: str, options: dict[str, object]) -> list[str]:
    """In what a step of two processes differs from that of one: missing gradients, and other ones."""

    def work(rank: int) -> list[str]:
        segmenter = without_chance(built(name, "quickgelu", **options))
        with torch.no_grad():
            perturb(segmenter)  # away from zeros, behind which there is no gradient
        steps = {kind: batches(10 * number, empty) for number, (kind, empty) in enumerate(MASKS.items())}
        alone = {kind: gradient_alone(segmenter, parts) for kind, parts in steps.items()}
        stepper = make_stepper(segmenter, make_accelerator("cpu"))
        found = []
        for kind, parts in steps.items():
            stepper.launch([parts[rank]], lr=0.0)
            for label, p in segmenter.tuned_parameters().items():
                wanted = alone[kind][label]
                if p.grad is None or not p.grad.any():
                    found.append(f"{kind}: {label} has no gradient")
                elif not (p.grad - wanted).norm() < 1e-3 * wanted.norm() + 1e-7:
                    found.append(f"{kind}: {label} {float((p.grad - wanted).norm() / wanted.norm()):.1e}")
        return found

    return [f"process {rank}, {line}" for rank, lines in enumerate(in_two_processes(work)) for line in lines]


@pytest.mark.complaint(2)
@each_method("lora")
def test_two_processes_have_the_gradients_of_one(name: str) -> None:
    """In the first step and in two more, which would raise if a parameter had been left out of the one before."""
    judge(2, name, unlike_one_process(name, {}))


@pytest.mark.complaint(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", BATCH_DEPENDENT)
def test_with_the_option_that_makes_samples_independent_they_have_them(name: str) -> None:
    assert unlike_one_process(name, BATCH_DEPENDENT[name]) == []


@pytest.mark.complaint(6)
@pytest.mark.slow
def test_a_process_waits_for_a_slow_one_as_long_as_it_is_told(tmp_path: Path) -> None:
    """With an hour the others wait for it; with ten seconds they give up, and the error is recognized."""
    gave_up = tmp_path / "gave up"

    def work(rank: int, patience: float, slow: float) -> str:
        accelerator = make_accelerator("cpu", timeout=patience)
        accelerator.wait_for_everyone()
        begin = time.monotonic()
        while rank == 1 and time.monotonic() - begin < slow and not gave_up.exists():
            time.sleep(0.1)
        try:
            accelerator.reduce(torch.ones(1))
        except Exception as error:
            gave_up.touch()
            return f"recognized: {waited_too_long(error)}"
        return "met"

    assert in_two_processes(lambda rank: work(rank, 3600.0, 2.0)) == ["met", "met"]
    assert in_two_processes(lambda rank: work(rank, 10.0, 120.0))[0] == "recognized: True"


HANGS = """
import os, time
from pathlib import Path

import torch
from torch import nn

from barbench.methods.base import Component


class Hangs(Component):
    label = "Hangs"

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.passes = 0

    def shortcut(self, site, x):
        if (site.tower, site.block, site.branch) == ("vision", 0, "attn"):
            self.passes += 1
        mark = Path(__file__).with_name("hang")
        if self.passes > 5 and os.environ.get("RANK") == "1" and mark.exists():
            mark.unlink()
            time.sleep(300)
        return x * self.scale


def hangs():
    return (Hangs(),)
"""


@pytest.mark.complaint(6)
@pytest.mark.slow
def test_a_cell_one_of_whose_processes_hangs_is_resumed(
    shapes_root: Path, backbone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says what happened and what to do; the same command continues from the checkpoint."""
    folder = tmp_path / "user"
    folder.mkdir()
    (folder / "hangs_once.py").write_text(HANGS)
    (folder / "hang").touch()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.syspath_prepend(str(folder))
    recipe = parse_recipe("test", {"epochs": 4, "batch": 8, "lr": 1e-3})
    place = {"checkpoint_seconds": 0.0, "process_timeout": 1.0}
    results = tmp_path / "results"
    [alone] = small_cells(shapes_root, backbone_folder, recipe, results, "hangs_once:hangs", place=place)
    job = alone.model_copy(update={"cell": alone.cell.model_copy(update={"processes": 2})})
    told = Told()
    [failed] = run_jobs([job], results, told)
    assert failed.status == "failed"
    assert "a process waited 1 minutes for another one of the cell" in failed.reason
    assert "--process-timeout" in failed.reason
    assert job.checkpoint.exists()
    before = [event["step"] for event in told.events if event["event"] == "step"]
    told = Told()
    [record] = run_jobs([job], results, told)
    assert record.status == "done", record.reason
    first = next(event for event in told.events if event["event"] == "step")
    assert (first["epoch"] - 1) * first["steps"] + first["step"] == len(before) + 1
