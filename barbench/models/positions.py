"""Fixed sine-cosine positions, as DETR and CRIS lay them out."""

import math

import torch
from torch import Tensor


def sincos_1d(length: int, width: int) -> Tensor:
    """(length, width): sine on even channels, cosine on odd ones."""
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angle = torch.arange(length)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


def sincos_2d(rows: int, columns: int, width: int) -> Tensor:
    """(rows * columns, width), row by row: the column on the first half of the channels, the row on the second. width
    % 4 == 0."""
    if width % 4:
        raise ValueError(f"2-D positions need a width divisible by 4, not {width}")
    half = width // 2
    x = sincos_1d(columns, half).expand(rows, columns, half)
    y = sincos_1d(rows, half)[:, None].expand(rows, columns, half)
    return torch.cat([x, y], -1).flatten(0, 1)
