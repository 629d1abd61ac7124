"""The machine's own speed, against a clock that is known."""

import pytest
import torch

from barbench.benchmarks import costs


def test_the_rate_counts_two_operations_per_product(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(costs.time, "perf_counter", lambda: 0.25 * next(ticks))
    assert costs.matrix_rate("cpu", "fp32", torch.get_num_threads()) == 2 * 2048 * 768 * 3072 / 0.25


def test_on_a_gpu_the_products_between_two_waits_outlast_a_launch() -> None:
    """On a card of 1000 TFLOP/s, one percent of what is timed is more than 20 microseconds of launching and waiting."""
    rows, inner, columns, count = costs.GPU_PRODUCTS
    assert 2 * rows * inner * columns * count / 1000e12 > 100 * 20e-6
    assert 3 * 4 * rows * inner < 2e9  # and the matrices fit into a small card


def test_the_rate_counts_every_product_between_two_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(costs.time, "perf_counter", lambda: 0.25 * next(ticks))
    monkeypatch.setattr(costs, "PRODUCTS", costs.Products(4, 8, 16, 3))
    assert costs.matrix_rate("cpu", "bf16", 1) == 3 * 2 * 4 * 8 * 16 / 0.25
