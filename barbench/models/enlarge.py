"""A 3x3 convolution of a map enlarged twice, with its channel products done before the enlargement."""

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = 3


def convolve_enlarged(x: Tensor, weight: Tensor) -> Tensor:
    """`conv2d(interpolate(x, 2, bilinear), weight, padding=1)` on channels-last maps.

    x (B, H, W, C), weight (O, C, 3, 3) -> (B, 2H, 2W, O). Enlarging acts on places and each tap of the kernel on
    channels, so the two commute: the products of C with O channels are done at H x W, a quarter of the places. What is
    left is a weighted sum over places, separable and without channel products: first the rows, then the columns, as two
    small dense matrices. Exact, borders included; nothing larger than x is kept for the backward pass.
    """
    batch, height, width, channels = x.shape
    outputs = len(weight)
    rows, columns = (enlarging(n, x) for n in (height, width))
    taps = weight.permute(2, 1, 3, 0).reshape(TAPS, channels, TAPS * outputs)
    tall = x.new_zeros(())
    for row, tap in zip(rows, taps, strict=True):
        mixed = (x.reshape(-1, channels) @ tap).view(batch, height, -1)
        tall = torch.baddbmm(tall, row.expand(batch, -1, -1), mixed)
    places = columns.permute(1, 2, 0).reshape(2 * width, -1)  # the row of a place and, within it, the tap
    wide = torch.bmm(places.expand(2 * batch * height, -1, -1), tall.view(2 * batch * height, -1, outputs))
    return wide.view(batch, 2 * height, 2 * width, outputs)


def enlarging(n: int, like: Tensor) -> Tensor:
    """(3, 2n, n): bilinear enlargement of n places to 2n, read one place before, at, and after each; zero outside."""
    to_double = F.interpolate(torch.eye(n, device=like.device)[None], scale_factor=2, mode="linear")[0].T
    padded = F.pad(to_double, (0, 0, 1, 1))
    return torch.stack([padded[tap : tap + 2 * n] for tap in range(TAPS)]).to(like.dtype)
