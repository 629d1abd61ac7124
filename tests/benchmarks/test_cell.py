"""What a cell books of its cost."""

from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from barbench.benchmarks import cell
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from tests.models.small import SIZE, small


def cost(precision: str) -> tuple[int, int]:
    """FLOPs and kept bytes of a small model in a precision."""
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    segmenter = build_segmenter(resolve("etris")[0], small())
    task = SimpleNamespace(task=SimpleNamespace(words=9))
    loaded: Any = SimpleNamespace(
        segmenter=segmenter, accelerator=accelerator, letterbox=SimpleNamespace(size=SIZE), data=task
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
