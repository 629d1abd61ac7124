"""What is tuned moves, and is kept in fp32 (complaints 1 and 3).

Frozen blocks that are computed again in the backward pass gave no gradient elsewhere (transformers#21381), so that a
low-rank matrix stayed zero; parameters in half precision end in "attempting to unscale FP16 gradients" (LLaVA#363).
"""

from collections.abc import Iterator

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from barbench.engine.accelerator import make_accelerator
from barbench.models.efficient.kernels import choose_kernels
from tests.complaints.complaints import each_method, judge
from tests.complaints.steps import RECIPE, make_stepper, train_batch
from tests.contract.test_contract import built
from tests.engine.test_step import with_scaler


def accelerator_in(precision: str) -> Accelerator:
    """On the CPU; fp16, which accelerate allows on a GPU only, as a GPU has it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    if precision == "fp16":
        return with_scaler(make_accelerator("cpu"), 2.0**8)
    return make_accelerator("cpu", precision)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Kernels and accelerate's state are those of the process."""
    yield
    choose_kernels("auto")
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.complaint(1)
@pytest.mark.parametrize("kernels", ["low_memory", "fused"])
@each_method("barleria")
def test_after_two_steps_every_tuned_tensor_has_moved(name: str, kernels: str) -> None:
    """With `low_memory` kernels each layer of the decoder is checkpointed. Two steps, since behind a matrix that starts
    at zero there is no gradient in the first."""
    choose_kernels(kernels)
    segmenter = built(name, "quickgelu")
    start = {label: p.detach().clone() for label, p in segmenter.named_parameters()}
    stepper = make_stepper(segmenter, accelerator_in("fp32"))
    for seed in range(2):
        stepper.launch([train_batch(seed)], RECIPE.lr)
    tuned = segmenter.tuned_parameters()
    judge(1, name, [label for label, p in tuned.items() if torch.equal(p, start[label])])
    for label, p in segmenter.named_parameters():
        assert label in tuned or torch.equal(p, start[label]), label


@pytest.mark.complaint(3)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@each_method("barleria")
def test_what_is_tuned_is_in_fp32(name: str, precision: str) -> None:
    """Parameters after they were built, then gradients and the optimizer's states after a step."""
    segmenter = built(name, "quickgelu")
    tuned = segmenter.tuned_parameters()
    kept = {f"{label} as built": p.dtype for label, p in tuned.items()}
    stepper = make_stepper(segmenter, accelerator_in(precision))
    stepper.launch([train_batch(0)], RECIPE.lr)
    assert not stepper.bad
    states = stepper.optimizer.state_dict()["state"]
    assert len(states) == len(tuned), "every tuned parameter has a state"
    for number, state in states.items():
        kept |= {f"{key} of parameter {number}": value.dtype for key, value in state.items()}
    for label, p in tuned.items():
        assert p.grad is not None
        kept |= {label: p.dtype, f"{label}'s gradient": p.grad.dtype}
    judge(3, name, [label for label, dtype in kept.items() if dtype is not torch.float32])
