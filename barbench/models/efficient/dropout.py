"""Dropout, of features and of attention weights, with a boolean mask saved for the backward pass."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from barbench.models.efficient.autocast import autocast_disabled
from barbench.models.efficient.kernels import lean

_PARTS = 1 << 16  # a dropout probability is rounded to this many parts: 16 random bits decide an element


class Dropout(nn.Dropout):
    """`nn.Dropout` that saves a boolean mask; on the CPU torch saves one of floats, and draws it slowly."""

    def forward(self, input: Tensor) -> Tensor:
        """Set elements to zero with probability `p` in training mode, and scale the others by 1 / (1 - p).

        Args:
            input: of any shape.

        Returns:
            The shape of `input`.
        """
        if not (self.training and self.p):
            return input
        if lean(input):  # CUDA has one kernel for it, with a mask of booleans
            return super().forward(input)
        y: Tensor = _Drop.apply(input, self.p)
        return y


class _Drop(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropout: float) -> Tensor:
        keep = drawn(x.shape, 1 - dropout, x.device)
        ctx.save_for_backward(keep)
        ctx.scale = 1 / (1 - dropout)
        return masked(x, keep).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return masked(grad, keep).mul_(ctx.scale), None


def drawn(shape: Sequence[int], chance: float, device: torch.device) -> Tensor:
    """Draw independent booleans.

    On the CPU the chance is rounded to one part in 65,536: four booleans come from one 64-bit random number.

    Args:
        shape: of the result.
        chance: probability of True.
        device: of the result.

    Returns:
        A boolean tensor.
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=torch.bool, device=device).bernoulli_(chance)
    count, lowest = math.prod(shape), torch.iinfo(torch.int64).min
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(lowest, None).view(torch.int16)
    return (bits[:count] <= round(chance * _PARTS) - _PARTS // 2 - 1).view(shape)


def masked(x: Tensor, keep: Tensor) -> Tensor:
    """x where `keep` is True, else 0.

    The mask is viewed as uint8: multiplying by bool first copies it to x's dtype.

    Args:
        x: of any shape.
        keep: boolean, broadcastable to x.

    Returns:
        The shape of x.
    """
    return x * keep.view(torch.uint8)


def attend_dropped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Scaled dot-product attention with dropout on its weights.

    Where torch has no fused kernel for it (CPU), its own attention saves three fp32 maps of T x S; here one boolean map
    is saved, and one sample's weights exist at a time.

    Args:
        q: queries (B, heads, T, d).
        k: keys (B, heads, S, d).
        v: values (B, heads, S, d).
        mask: boolean attend mask (True = attend), broadcastable to (B, heads, T, S), or None.
        dropout: probability with which an attention weight is set to zero.

    Returns:
        (B, heads, T, d).
    """
    y: Tensor = _Dropped.apply(q, k, v, mask, dropout)
    return y


def _weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax of one sample's scores, (heads, T, S)."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    weights: Tensor = (scores if mask is None else scores.masked_fill_(~mask, float("-inf"))).softmax(-1)
    return weights


class _Dropped(Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        with autocast_disabled(q):
            keep = drawn((*q.shape[:3], k.shape[2]), 1 - dropout, q.device)
            y = q.new_empty(len(q), q.shape[2], q.shape[1], v.shape[3]).transpose(1, 2)  # heads last: flattens for free
            masks = [None] * len(q) if mask is None else list(mask.expand(len(q), -1, -1, -1))
            for i, attend in enumerate(masks):
                y[i] = (_weights(q[i], k[i], attend).mul_(keep[i].view(torch.uint8)) @ v[i]).div_(1 - dropout)
            ctx.save_for_backward(q, k, v, keep, y)
            ctx.masks, ctx.dropout = masks, dropout
            return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, keep, y = ctx.saved_tensors
        with autocast_disabled(q):
            grads = tuple(torch.empty_like(t) for t in (q, k, v))
            scale, rest = q.shape[-1] ** -0.5, 1 - ctx.dropout
            # The softmax's backward pass subtracts the weights' mean gradient, which is grad . y per query.
            mean = (grad * y).sum(-1, keepdim=True)
            for i, attend in enumerate(ctx.masks):
                # The weights are computed again from queries and keys.
                weights, g = _weights(q[i], k[i], attend), grad[i] / rest
                grads[2][i] = masked(weights, keep[i]).mT @ g
                scores = (g @ v[i].mT).mul_(keep[i].view(torch.uint8)).sub_(mean[i]).mul_(weights).mul_(scale)
                grads[0][i], grads[1][i] = scores @ k[i], scores.mT @ q[i]
            return *grads, None, None
