"""Fused kernels, meant for a GPU, against the `low_memory` ones, which a CPU runs; Triton's in its interpreter."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from barbench.errors import UnknownName
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.efficient.dropout import Dropout, without_dropout
from barbench.models.efficient.kernels import choose_kernels, use_fused
from barbench.models.efficient.upsample import convolve_upsampled
from barbench.models.segmenter import training_loss
from tests.models.small import inputs, small

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def fused_kernels() -> Iterator[None]:
    """Fused kernels, on a CPU."""
    choose_kernels("fused")
    yield
    choose_kernels("auto")


def test_auto_is_low_memory_until_a_card_was_checked() -> None:
    assert not use_fused()
    for name, fused in (("low_memory", False), ("plain", False), ("fused", True), ("lean", True)):
        choose_kernels(name)
        assert use_fused() == fused
    choose_kernels("auto")
    with pytest.raises(UnknownName, match="plain"):
        choose_kernels("plane")


@pytest.mark.usefixtures("fused_kernels")
@pytest.mark.parametrize("grid", [(1, 1), (2, 1), (3, 5)])
def test_the_batched_convolution_has_the_values_and_gradients_of_its_formula(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, *grid, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    wide = F.interpolate(x.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear")
    torch.testing.assert_close(
        convolve_upsampled(x, weight), F.conv2d(wide, weight, padding=1).permute(0, 2, 3, 1), rtol=1e-12, atol=1e-12
    )
    assert torch.autograd.gradcheck(convolve_upsampled, (x, weight))


@pytest.mark.usefixtures("fused_kernels")
def test_dropout_keeps_its_share() -> None:
    x = torch.ones(200, 200, requires_grad=True)
    y = Dropout(0.25)(x)
    torch.testing.assert_close(y, (y > 0) / 0.75)
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y.detach())


def step(method: str, kernels: str) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of a small model in float64, without dropout."""
    choose_kernels(kernels)
    segmenter = build_segmenter(resolve(method)[0], small("quickgelu"), seed=1).double().train()
    without_dropout(segmenter)
    image, ids = inputs()
    loss = training_loss(segmenter(image.double(), ids), torch.ones(len(ids), 24, 24))
    loss.backward()
    choose_kernels("auto")
    return float(loss.detach()), {n: p.grad for n, p in segmenter.tuned_parameters().items() if p.grad is not None}


@pytest.mark.parametrize("method", ["etris", "barleria"])
def test_a_step_on_fused_kernels_is_the_low_memory_one(method: str) -> None:
    (loss, expected), (same, found) = step(method, "low_memory"), step(method, "fused")
    assert loss == pytest.approx(same, rel=1e-12)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-11, msg=name)


def test_tritons_kernels_in_its_interpreter() -> None:
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.models.interpreted"],
        cwd=REPOSITORY,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["flow", "layouts", "norm"]
