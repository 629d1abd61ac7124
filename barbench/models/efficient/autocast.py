"""Autocast inside custom autograd functions."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def autocast_disabled(x: Tensor) -> AbstractContextManager[object]:
    """Disable autocast on x's device, so that operations keep the tensors' own dtypes."""
    if autocast_enabled(x):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


def autocast_enabled(x: Tensor) -> bool:
    """Whether autocast is enabled on x's device; the meta device has none."""
    return torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type)
