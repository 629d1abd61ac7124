"""The device that is asked for is the one that computes: GPUs are pretended."""

from typing import Any

import pytest
import torch

from barbench.engine import accelerator


@pytest.mark.parametrize(
    ("device", "current", "cpu"), [("cuda:1", ["cuda:1"], False), ("cuda", [], False), ("cpu", [], True)]
)
def test_a_numbered_gpu_becomes_the_current_one(
    monkeypatch: pytest.MonkeyPatch, device: str, current: list[str], cpu: bool
) -> None:
    """accelerate computes on the current GPU, whatever number it is given."""
    order: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_device", order.append)
    monkeypatch.setattr(accelerator, "Accelerator", lambda **given: order.append(given))
    accelerator.make_accelerator(device, "bf16")
    given = {"cpu": cpu, "mixed_precision": "bf16", "kwargs_handlers": []}
    assert order == [*current, given], "chosen before accelerate looks"


def test_how_long_processes_wait_is_said_where_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(accelerator, "Accelerator", lambda **arguments: given.extend(arguments["kwargs_handlers"]))
    accelerator.make_accelerator("cpu", timeout=90.0)
    assert [handler.timeout.total_seconds() for handler in given] == [90.0]
