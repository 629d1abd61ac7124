"""What a cell books of its cost, and what its record says of precision, waits and memory."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from barbench.benchmarks import cell
from barbench.benchmarks.cell import run_cell
from barbench.benchmarks.execution.worker.signals import StopSignal
from barbench.datasets.content import read_dataset
from barbench.engine.precision import precision_facts
from barbench.engine.profile import Peak
from barbench.engine.training_state import Training
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.results.record import Record, Subset
from barbench.results.store import Store
from barbench.spec.recipe import parse_recipe
from tests.benchmarks.conftest import MakeJobs
from tests.benchmarks.small_matrix import small_cells
from tests.models.small import SIZE, small


def cost(precision: str) -> tuple[int, int]:
    """FLOPs and kept bytes of a small model in a precision."""
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    segmenter = build_segmenter(resolve("etris")[0], small())
    data = SimpleNamespace(dataset=SimpleNamespace(context_length=9))
    loaded: Any = SimpleNamespace(
        segmenter=segmenter, accelerator=accelerator, letterbox=SimpleNamespace(size=SIZE), data=data
    )
    try:
        return cell._cost(loaded)
    finally:
        AcceleratorState._reset_state()


def test_what_is_kept_is_counted_in_the_cells_precision(monkeypatch: Any) -> None:
    monkeypatch.setattr(cell, "PROFILE_BATCH", 24)
    monkeypatch.setattr(cell.profile, "example_batch", batch)
    flops, kept = cost("no")
    same, fewer = cost("bf16")
    assert same == flops
    assert 0.4 * kept < fewer < 0.8 * kept


def batch(segmenter: Any, size: int, length: int, count: int) -> tuple[torch.Tensor, ...]:
    """As `example_batch`, within a small vocabulary."""
    ids = torch.zeros(count, length, dtype=torch.long)
    ids[:, :4] = torch.tensor([3, 4, 5, 63])
    return torch.randn(count, 3, size, size), ids, torch.ones(count, size, size)


def test_the_record_says_what_ran(finished: tuple[Store, Record]) -> None:
    _, record = finished
    measured = record.profile
    assert measured is not None
    assert record.environment["precision"] == {"autocast": None, "kernels": "low_memory"}
    assert measured.train_wait_s is not None
    assert 0 < measured.train_wait_s < record.timings["training"]
    assert (measured.skipped_steps, measured.reserved_memory_bytes) == (0, None)


def test_a_cells_precision_is_that_of_its_autocast(make_jobs: MakeJobs, tmp_path: Path) -> None:
    (job,) = make_jobs(tmp_path)
    AcceleratorState._reset_state()
    half = job.at(cache=None).model_copy(update={"cell": job.cell.model_copy(update={"precision": "bf16"})})
    try:
        assert precision_facts(cell._load(half, lambda _: None).accelerator)["autocast"] == "bfloat16"
    finally:
        AcceleratorState._reset_state()


def test_a_cell_says_why_its_kernels_are_not_fused(
    make_jobs: MakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, torch.device, str]] = []

    def settle(*question: Any) -> str:
        asked.append(question)
        return "fused ones fail on this card"

    monkeypatch.setattr(cell, "settle_kernels", settle)
    (job,) = make_jobs(tmp_path)
    events: list[dict[str, Any]] = []
    AcceleratorState._reset_state()
    cell._load(job.at(cache=None), events.append)
    assert asked == [("auto", torch.device("cpu"), "fp32")]
    assert {"event": "note", "text": "fused ones fail on this card"} in events


def test_what_was_measured_on_a_gpu_reaches_the_record() -> None:
    loaded: Any = SimpleNamespace(recipe=SimpleNamespace(batch=32), accelerator=SimpleNamespace(device="cuda"))
    metrics: Any = {"val": SimpleNamespace(metrics=SimpleNamespace(n=10), images_per_second=5.0)}
    training = Training([], 9.0, 400.0, 0.25, 3)
    peaks = (Peak(100, "cuda allocator", 150), Peak(120, "cuda allocator", 170))
    measured = cell._profile(loaded, (7, 8), *peaks, training, metrics)
    assert measured.evaluation_memory_bytes == 120
    assert (measured.peak_memory_bytes, measured.peak_memory_kind, measured.reserved_memory_bytes) == (
        100, "cuda allocator", 150,
    )  # fmt: skip
    assert (measured.train_images_per_s, measured.train_wait_s, measured.skipped_steps) == (400.0, 0.25, 3)
    assert measured.infer_images_per_s == 5.0


def test_a_cell_that_is_stopped_while_it_evaluates_is_continued_there(make_jobs: MakeJobs, tmp_path: Path) -> None:
    """Stopped once in each split: nothing is scored twice, and every count is that of a cell in one piece."""
    [job] = make_jobs(tmp_path / "stopped", methods="snf")
    [whole] = make_jobs(tmp_path / "whole", methods="snf")
    result = run_cell(whole, lambda event: None, StopSignal().at_steps)
    assert result is not None
    splits = list(result[0].splits)
    scored = 0
    for split in splits[:2]:

        def stop_in(event: dict[str, Any], split: str = split) -> None:
            nonlocal scored
            if event["event"] == "scored":
                scored += event["new"]
                if event["split"] == split:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_cell(job, stop_in, StopSignal().at_steps)
        assert any(job.evaluation.iterdir())
    news: list[int] = []
    resumed = run_cell(
        job, lambda event: news.append(event["new"]) if event["event"] == "scored" else None, StopSignal().at_steps
    )
    assert resumed is not None
    assert resumed[0].splits == result[0].splits
    assert all(np.array_equal(resumed[1][name], column) for name, column in result[1].items())
    assert scored + sum(news) == sum(result[0].splits[split].scores.n for split in splits)


def test_a_limited_cell_uses_the_chosen_images_alone_and_its_record_says_so(
    shapes_root: Path, backbone_folder: Path, tmp_path: Path
) -> None:
    recipe = parse_recipe("test", {"epochs": 1, "batch": 8, "lr": 1e-3, "eval_batch": 8})
    [job] = small_cells(shapes_root, backbone_folder, recipe, tmp_path, datasets=("refcoco",), limit=2, limit_train=12)
    result = run_cell(job, lambda event: None, StopSignal().at_steps)
    assert result is not None
    record, arrays = result
    data = read_dataset(shapes_root, job.dataset, limit=2, limit_train=12)
    for key, split in data.evals.items():
        assert set(arrays[f"{key}/image_id"].tolist()) == {r.image_id for r in split.references}
        assert (record.splits[key].images, record.splits[key].whole_images) == (2, 4)
        assert record.splits[key].chosen == data.chosen[key].digest
    assert record.training is not None
    assert (record.training.images, record.training.whole_images) == (12, 16)
    assert record.cell.subset == Subset(train=12, evaluate=2)
