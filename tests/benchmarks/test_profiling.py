"""The machine's own speed, against a clock that is known."""

import pytest
import torch

from barbench.benchmarks import profiling


def test_the_rate_counts_two_operations_per_product(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: 0.25 * next(ticks))
    assert profiling.matrix_rate("cpu", "fp32", torch.get_num_threads()) == 2 * 2048 * 768 * 3072 / 0.25
