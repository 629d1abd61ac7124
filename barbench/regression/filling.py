"""Weights computed from their names: two models can be compared, years apart, without storing either.

`barbench check` fills heads and methods with them, because at their own initialisation many parts are close to the
identity and would hide a mistake; the golden tests fill public code and ours alike.
"""

import hashlib
import math

import numpy as np
import torch
from torch import Tensor, nn


def uniform(name: str, shape: tuple[int, ...]) -> Tensor:
    """Uniform float32 values in [-1, 1) from SHAKE-256 of a tensor's name, two bytes per value."""
    digest = hashlib.shake_256(name.encode()).digest(2 * math.prod(shape))
    numbers = np.frombuffer(digest, "<u2").astype(np.float32)
    return torch.from_numpy(numbers / 2**15 - 1).reshape(shape)


def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """A float32 weight of plausible size: matrices and kernels with variance 1 / fan-in; scales and variances around 1;
    biases and means around 0."""
    # By the end of the name, then by the number of axes.
    u = uniform(name, shape)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape)
    if name.endswith("running_var"):
        return 1 + 0.5 * u
    if len(shape) > 1:
        return u * math.sqrt(3 / math.prod(shape[1:]))
    if name.endswith("weight"):
        return 1 + 0.3 * u
    return 0.3 * u


@torch.no_grad()
def fill(model: nn.Module, but: tuple[str, ...] = ()) -> None:
    """Give parameters and saved buffers the `weight` of their names, except those that begin with one of `but`.

    Whole numbers (counters, indices) stay.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not name.startswith(but):
            value.copy_(weight(name, tuple(value.shape)))
