"""The comparison of kernels with Triton's, right and wrong, in its interpreter, in a process of its own:
TRITON_INTERPRET=1 python -m tests.engine.interpreted_check"""

import json
import sys
from typing import Any
from unittest import mock

import torch

from barbench.engine import kernel_check
from barbench.models.efficient import fused


class Wrong:
    """A kernel of which one argument is not what it was called with."""

    def __init__(self, kernel: Any, place: int, by: float) -> None:
        self.kernel = kernel
        self.place = place
        self.by = by

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*arguments: Any, **settings: Any) -> None:
            changed = list(arguments)
            changed[self.place] = changed[self.place] + self.by
            self.kernel[grid](*changed, **settings)

        return launch


class Uncompiled:
    """A kernel that Triton cannot compile."""

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        raise RuntimeError("PassManager::run failed\nmore of it")


def found(name: str = "", kernel: Any = None) -> list[str]:
    with mock.patch.object(fused.triton_kernels, name, kernel) if name else mock.MagicMock():
        return kernel_check.compare(torch.device("cpu"), "bf16")


if __name__ == "__main__":
    torch.set_num_threads(1)
    # The interpreter takes a second for what a card does in a millisecond.
    kernel_check.TOKENS = (2, 5)
    kernel_check.WIDTHS = (20,)
    kernel_check._unequal_step = lambda device, precision: []
    kernels = fused.triton_kernels
    answers = {
        "right": found(),
        "another eps": found("norm_forward", Wrong(kernels.norm_forward, -1, 0.5)),
        "a row is left out": found("planar_backward", Wrong(kernels.planar_backward, 9, -1)),
        "not compiled": found("planar_forward", Uncompiled()),
    }
    print(json.dumps(answers), file=sys.stdout)
