"""Fixed sine-cosine positional encodings, in the channel order of DETR and CRIS."""

import math

import torch
from torch import Tensor


def sincos_1d(length: int, width: int) -> Tensor:
    """Positional encodings of a sequence: sine on even channels, cosine on odd ones.

    Args:
        length: number of positions.
        width: number of channels, even.

    Returns:
        float32 (length, width).
    """
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angle = torch.arange(length)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


def sincos_2d(rows: int, columns: int, width: int) -> Tensor:
    """Positional encodings of a grid: the column on the first half of the channels, the row on the second.

    Args:
        rows: height of the grid.
        columns: width of the grid.
        width: number of channels, divisible by 4.

    Returns:
        float32 (rows * columns, width), row by row.

    Raises:
        ValueError: if `width` is not divisible by 4.
    """
    if width % 4:
        raise ValueError(f"2-D positions need a width divisible by 4, not {width}")
    half = width // 2
    x = sincos_1d(columns, half).expand(rows, columns, half)
    y = sincos_1d(rows, half)[:, None].expand(rows, columns, half)
    return torch.cat([x, y], -1).flatten(0, 1)
