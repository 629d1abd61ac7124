"""A 3x3 convolution of a map upsampled by two, with its channel products done before the upsampling."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from barbench.models.efficient.autocast import autocast_disabled, autocast_enabled
from barbench.models.efficient.kernels import use_fused

TAPS = 3
WIDE = (torch.float32, torch.float64)


def convolve_upsampled(x: Tensor, weight: Tensor) -> Tensor:
    """`conv2d(interpolate(x, 2, bilinear), weight, padding=1)` on channels-last maps.

    Upsampling acts on positions and each tap of the kernel on channels, so the two commute: the products of C with O
    channels are done at H x W, a quarter of the positions. What is left is a weighted sum over positions, separable and
    without channel products: first the rows, then the columns, as two small dense matrices. Exact, borders included.
    Only x is saved for the backward pass. Intermediate maps exist for one sample at a time; with fused kernels for
    all of them, in a dozen kernels in place of a dozen per sample.

    Args:
        x: (B, H, W, C).
        weight: (O, C, 3, 3).

    Returns:
        (B, 2H, 2W, O).
    """
    if autocast_enabled(x):
        dtype = torch.get_autocast_dtype(x.device.type)
        x = x.to(dtype)
        weight = weight.to(dtype)
    convolve = _ConvolveBatch if use_fused() else _ConvolveSamples
    y: Tensor = convolve.apply(x, weight)
    return y


def upsampling(n: int, like: Tensor) -> Tensor:
    """The 2x bilinear upsampling matrix for n positions, shifted by each of the kernel's three taps and zero-padded:
    (3, 2n, n), with the device and dtype of `like`."""
    double = F.interpolate(torch.eye(n, device=like.device)[None], scale_factor=2, mode="linear")[0].T
    padded = F.pad(double, (0, 0, 1, 1))
    shifted = [padded[tap : tap + 2 * n] for tap in range(TAPS)]
    return torch.stack(shifted).to(like.dtype)


def _upsampled_columns(width: int, like: Tensor) -> Tensor:
    """(2W, W * 3): `upsampling` with the taps of one position side by side."""
    return upsampling(width, like).permute(1, 2, 0).reshape(2 * width, -1)


def _taps(weight: Tensor) -> Tensor:
    """(O, C, 3, 3) -> (3, C, 3 * O), by row and, within it, by column of the kernel."""
    return weight.permute(2, 1, 3, 0).reshape(TAPS, weight.shape[1], -1)


def _weight_of(taps: Tensor) -> Tensor:
    """The inverse of `_taps`: (3, C, 3 * O) -> (O, C, 3, 3)."""
    return taps.view(TAPS, taps.shape[1], TAPS, -1).permute(3, 1, 0, 2).contiguous()


class _ConvolveSamples(Function):
    """One sample after the other, in memory that all share."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        with autocast_disabled(x):
            batch, height, width, channels = x.shape
            outputs = len(weight)
            rows = upsampling(height, x)
            columns = _upsampled_columns(width, x).expand(2 * height, -1, -1)
            taps = _taps(weight)
            y = x.new_empty(batch, 2 * height, 2 * width, outputs)
            tall = x.new_empty(2 * height, width * TAPS * outputs)  # one for all samples: new memory is slow to touch
            for sample, wide in zip(x, y, strict=True):
                # Per row of the kernel: channel products for its three taps at H x W, then upsampling of the rows.
                tall.zero_()
                for row, tap in zip(rows, taps, strict=True):
                    mixed = (sample.reshape(-1, channels) @ tap).view(height, -1)
                    torch.addmm(tall, row, mixed, out=tall)
                # Upsampling of the columns, with the sum over the kernel's columns.
                torch.bmm(columns, tall.view(2 * height, -1, outputs), out=wide)
            ctx.save_for_backward(x, weight)
            return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        with autocast_disabled(x):
            _, height, width, channels = x.shape
            rows = upsampling(height, x)
            columns = _upsampled_columns(width, x).T.expand(2 * height, -1, -1)
            taps = _taps(weight)
            x_grad = torch.zeros_like(x, memory_format=torch.contiguous_format)
            # Summed over samples: in fp32 where they are in half precision, whose rounding would add up.
            sum_dtype = taps.dtype if taps.dtype in WIDE else torch.float32
            taps_grad = torch.zeros_like(taps, dtype=sum_dtype)
            for sample, sample_grad, wide in zip(x, x_grad, grad, strict=True):
                positions = sample.reshape(-1, channels).T
                positions_grad = sample_grad.view(-1, channels)
                tall = torch.bmm(columns, wide).view(2 * height, -1)
                for row, tap, tap_grad in zip(rows, taps, taps_grad, strict=True):
                    mixed = (row.T @ tall).view(height * width, -1)
                    torch.addmm(positions_grad, mixed, tap.T, out=positions_grad)
                    if tap_grad.dtype == mixed.dtype:
                        torch.addmm(tap_grad, positions, mixed, out=tap_grad)
                    else:
                        tap_grad += positions @ mixed
            return x_grad, _weight_of(taps_grad.to(weight.dtype))


class _ConvolveBatch(Function):
    """`_ConvolveSamples` with one product for all samples of a batch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        with autocast_disabled(x):
            batch, height, width, channels = x.shape
            outputs = len(weight)
            rows = upsampling(height, x)
            columns = _upsampled_columns(width, x)
            positions = x.reshape(-1, channels)
            # Per row of the kernel, as for single samples: channel products, then upsampling of the rows.
            tall = x.new_empty(batch, 2 * height, width * TAPS * outputs)
            for number, (row, tap) in enumerate(zip(rows, _taps(weight), strict=True)):
                mixed = (positions @ tap).view(batch, height, -1)
                beta = min(number, 1)  # 0: what lies in new memory is not read
                torch.baddbmm(tall, row.expand(batch, -1, -1), mixed, beta=beta, out=tall)
            lines = tall.view(batch * 2 * height, -1, outputs)
            ctx.save_for_backward(x, weight)
            return torch.bmm(columns.expand(len(lines), -1, -1), lines).view(batch, 2 * height, 2 * width, outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        with autocast_disabled(x):
            batch, height, width, channels = x.shape
            rows = upsampling(height, x)
            columns = _upsampled_columns(width, x)
            taps = _taps(weight)
            taps_grad = torch.empty_like(taps)
            positions = x.reshape(-1, channels)
            positions_grad = torch.empty_like(positions)
            lines = grad.reshape(batch * 2 * height, 2 * width, -1)
            tall = torch.bmm(columns.T.expand(len(lines), -1, -1), lines).view(batch, 2 * height, -1)
            for number, (row, tap, tap_grad) in enumerate(zip(rows, taps, taps_grad, strict=True)):
                mixed = torch.bmm(row.T.expand(batch, -1, -1), tall).view(batch * height * width, -1)
                beta = min(number, 1)
                torch.addmm(positions_grad, mixed, tap.T, beta=beta, out=positions_grad)
                torch.mm(positions.T, mixed, out=tap_grad)
            return positions_grad.view(x.shape), _weight_of(taps_grad)
