"""A tensor as a few numbers, so that a baseline can hold what a model computed."""

import numpy as np
import torch
from torch import Tensor

ROWS = 6


def sketch(*tensors: Tensor) -> list[float]:
    """Summarise tensors in a few numbers that any change shows in.

    Every value enters each product, and a product is about as large as the first number: a change of one part in a
    thousand in any direction shows as about that much.

    Args:
        *tensors: of any shapes, taken together.

    Returns:
        Root mean square of all values, then their products with ROWS rows of fixed signs, divided by the root of their
            number.
    """
    values = torch.cat([tensor.detach().flatten().double() for tensor in tensors]).numpy()
    signs = np.random.default_rng(0).integers(0, 2, (ROWS, len(values)), dtype=np.int8) * 2.0 - 1.0
    return [float(np.sqrt(np.mean(values**2))), *(signs @ values / np.sqrt(len(values))).tolist()]
