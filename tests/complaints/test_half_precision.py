"""Large activations and small constants in half precision (complaint 4; CLIP#40, CLIP#57, CoOp#73)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from barbench.models.segmenter import Segmenter
from barbench.models.towers.base import Tower
from tests.complaints.complaints import each_method, judge
from tests.contract.test_contract import built, loss_of
from tests.models.small import inputs
from tools.gpu_check.simulate import HALF, _in_fp32

LOUDER = 100.0
LEAST = 2.0**-24  # 6e-8, the smallest number above zero in fp16
IN_FP32 = ("layer_norm", "cosine_similarity", "mse_loss", "normalize", "softmax")
"""Functions that CUDA's autocast keeps in fp32 and the CPU's does not."""


class _LostConstants(TorchDispatchMode):
    """Collects operations on half precision that are given a number which fp16 rounds to zero."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs))
        if any(isinstance(leaf, Tensor) and leaf.dtype in HALF for leaf in leaves):
            for leaf in leaves:
                if isinstance(leaf, float) and 0 < abs(leaf) < LEAST:
                    self.found.add(f"{func} with {leaf}")
        return func(*args, **(kwargs or {}))


@contextmanager
def cudas_choice() -> Iterator[None]:
    """What CUDA's autocast keeps in fp32; in the backward pass, too, where parts are computed again."""
    rules = [mock.patch.object(F, name, _in_fp32(getattr(F, name))) for name in IN_FP32]
    for rule in rules:
        rule.start()
    try:
        yield
    finally:
        for rule in rules:
            rule.stop()


def make_louder(tower: Tower, factor: float) -> None:
    """In place: so many times the activations enter the first block, and the residual stream carries them on."""
    embed = tower.embed

    def louder(*args: Any) -> Any:
        stream = embed(*args)
        return replace(stream, tokens=stream.tokens * factor)

    tower.embed = louder  # type: ignore[method-assign]


def not_finite(segmenter: Segmenter, kind: torch.dtype, factor: float = LOUDER) -> list[str]:
    """Outputs and gradients that are not finite, and constants that are lost, in one step with larger activations."""
    make_louder(segmenter.vision, factor)
    make_louder(segmenter.text, factor)
    outputs: dict[str, int] = {}

    def count(label: str) -> Any:
        def counted(module: Any, args: Any, output: Any) -> None:
            leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
            outputs[f"output of {label}"] = sum(int((~leaf.isfinite()).sum()) for leaf in leaves)

        return counted

    for label, module in segmenter.named_modules():
        module.register_forward_hook(count(label))
    scale = 2.0**8 if kind is torch.float16 else 1.0
    with cudas_choice(), _LostConstants() as constants:
        with torch.autocast("cpu", kind):
            loss = loss_of(segmenter, *inputs())
        (loss * scale).backward()
    found = [f"{count} numbers in the {label}" for label, count in outputs.items() if count]
    for label, p in segmenter.tuned_parameters().items():
        if p.grad is None or not p.grad.isfinite().all():
            found.append(f"gradient of {label}")
    return [*found, *constants.found]


@pytest.mark.complaint(4)
@pytest.mark.parametrize("kind", HALF, ids=str)
@each_method("barleria")
def test_large_activations_are_finite_and_no_constant_is_lost(name: str, kind: torch.dtype) -> None:
    judge(4, name, not_finite(built(name, "quickgelu").train(), kind))


def test_what_is_not_finite_is_seen() -> None:
    """The text tower's tokens themselves are beyond 65,504, the largest number of fp16."""
    assert not_finite(built("lim", "quickgelu").train(), torch.float16, 1e7)


def test_a_lost_constant_is_seen() -> None:
    with _LostConstants() as constants:
        F.normalize(torch.zeros(3, dtype=torch.float16), dim=0)
    assert len(constants.found) == 1
