"""What a step asks of a GPU, counted on fake tensors: no wait of the host, and fewer kernels where they are fused."""

from contextlib import suppress
from unittest import mock

import pytest
import torch
from accelerate import Accelerator
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from barbench.datasets.pixels import letterbox
from barbench.datasets.samples import TrainBatch
from barbench.engine.step import Stepper
from barbench.engine.train import make_optimizer
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.efficient.kernels import choose_kernels
from barbench.spec.recipe import parse_recipe
from tests.models.small import SIZE, small
from tools.gpu_check.simulate import Step, _Count, cuda_rules, simulate


def whole_step(clip: float | None, accelerator: Accelerator) -> Step:
    """Everything that `Stepper.launch` does, the optimizer's step included."""
    letterbox._constants.cache_clear()
    choose_kernels("fused")
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), cuda_rules():
            segmenter = build_segmenter(resolve("barleria")[0], small("quickgelu"))
            optimizer = make_optimizer(parse_recipe("test", {"epochs": 1, "batch": 2, "lr": 1e-3}), segmenter)
            stepper = Stepper(segmenter, optimizer, accelerator, clip, segmenter.normalization)
            ids, mask = torch.zeros(2, 9, dtype=torch.long), torch.empty(2, *segmenter.mask_grid)
            batch = TrainBatch(torch.empty(2, SIZE, SIZE, 3, dtype=torch.uint8), ids, mask, [0, 1])
            stepper.launch([batch], 1e-3)  # what is made once
            with _Count() as counted:
                stepper.launch([batch], 1e-3)
            return counted.step
    finally:
        choose_kernels("auto")
        letterbox._constants.cache_clear()


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_steps_launch_never_waits_for_the_device(clip: float | None, accelerator: Accelerator) -> None:
    step = whole_step(clip, accelerator)
    assert step.waits == 0
    assert step.by_operation["aten::_fused_adam_"][0] >= 1


def test_a_wait_would_be_counted(accelerator: Accelerator) -> None:
    """As the loss was read before: the counter sees it."""

    def read(self: Stepper, norm: torch.Tensor) -> None:
        with suppress(DataDependentOutputException):  # what a fake tensor answers
            float(norm)

    with mock.patch.object(Stepper, "_update", read), pytest.raises(AssertionError):
        assert whole_step(None, accelerator).waits == 0


def test_fused_kernels_are_fewer_and_move_less() -> None:
    small_ones, fused = (
        simulate("barleria", kernels, lambda: small("quickgelu"), 4) for kernels in ("low_memory", "fused")
    )
    assert fused.kernels < 0.6 * small_ones.kernels
    assert fused.bytes < 0.95 * small_ones.bytes  # much less where tokens outweigh weights
    assert fused.flops == pytest.approx(small_ones.flops, rel=0.1)
    assert small_ones.waits == fused.waits == 0
    assert fused.by_operation["barbench::planar"][0] == fused.by_operation["barbench::planar_backward"][0] == 24
