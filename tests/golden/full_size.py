"""Parity at full size: a ViT-B/16 at 416 px in float64. Weights and inputs are functions of a name, as in `filling`.

A full-size golden file holds nothing but numbers in float64: of each tensor, ROWS products with rows of signs.
"""

import math

import torch
from torch import Tensor

from barbench.regression.filling import uniform

ROWS, SIZE, WORDS = 4, 416, 17


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """image (1, 3, 416, 416), ids (1, 17), mask (1, 416, 416) of 0 and 1."""
    words = [49406, 9, 40000, 2368, 525, 2, 320, 1615, 17, 4160, 38, 49407]
    ids = torch.tensor([words + [0] * (WORDS - len(words))])
    image, mask = 1.7 * uniform("image", (1, 3, SIZE, SIZE)), uniform("mask", (1, SIZE, SIZE)) > 0.2
    return image.double(), ids, mask.double()


def projected(name: str, x: Tensor) -> Tensor:
    """(ROWS,): products of a tensor with signs, of the size of its root mean square."""
    signs = uniform(f"signs of {name}", (ROWS, x.numel())).sign().double()
    return (signs @ x.detach().flatten().double()) / math.sqrt(x.numel())
