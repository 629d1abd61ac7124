"""Dropout, of features and of attention weights, with a boolean mask saved for the backward pass."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from barbench.models.efficient.autocast import autocast_disabled

_PARTS = 1 << 16  # a dropout probability is rounded to this many parts: 16 random bits decide an element


class Dropout(nn.Dropout):
    """Dropout that keeps a mask of booleans; on the CPU torch keeps one of floats, and draws it slowly."""

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and self.p):
            return input
        y: Tensor = _Drop.apply(input, self.p)
        return y


class _Drop(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropout: float) -> Tensor:
        kept = drawn(x.shape, 1 - dropout, x.device)
        ctx.save_for_backward(kept)
        ctx.scale = 1 / (1 - dropout)
        return masked(x, kept).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return masked(grad, kept).mul_(ctx.scale), None


def drawn(shape: Sequence[int], chance: float, device: torch.device) -> Tensor:
    """Booleans that are true with this chance; on the CPU to one part in 65,536, drawn four from a 64-bit number."""
    if device.type != "cpu":
        return torch.empty(shape, dtype=torch.bool, device=device).bernoulli_(chance)
    count, lowest = math.prod(shape), torch.iinfo(torch.int64).min
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(lowest, None).view(torch.int16)
    return (bits[:count] <= round(chance * _PARTS) - _PARTS // 2 - 1).view(shape)


def masked(x: Tensor, kept: Tensor) -> Tensor:
    """x where `kept` is true, else 0. The mask is viewed as uint8: multiplying by bool first copies it to x's dtype."""
    return x * kept.view(torch.uint8)


def attend_dropped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Attention with dropout on its weights: q (B, heads, T, d), k and v (B, heads, S, d) -> (B, heads, T, d).

    mask: boolean (True = look), broadcastable to (B, heads, T, S). Where torch has no fused kernel for it (CPU), its
    own attention keeps three fp32 maps of T x S; here one of booleans is kept, and one sample's weights exist at a
    time.
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
            kept = drawn((*q.shape[:3], k.shape[2]), 1 - dropout, q.device)
            y = q.new_empty(len(q), q.shape[2], q.shape[1], v.shape[3]).transpose(1, 2)  # heads last: flattens for free
            looks = [None] * len(q) if mask is None else list(mask.expand(len(q), -1, -1, -1))
            for i, look in enumerate(looks):
                y[i] = (_weights(q[i], k[i], look).mul_(kept[i].view(torch.uint8)) @ v[i]).div_(1 - dropout)
            ctx.save_for_backward(q, k, v, kept, y)
            ctx.looks, ctx.dropout = looks, dropout
            return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, kept, y = ctx.saved_tensors
        with autocast_disabled(q):
            grads = tuple(torch.empty_like(t) for t in (q, k, v))
            scale, rest = q.shape[-1] ** -0.5, 1 - ctx.dropout
            mean = (grad * y).sum(-1, keepdim=True)  # of the weights' gradients, under the weights themselves
            for i, look in enumerate(ctx.looks):
                weights, g = _weights(q[i], k[i], look), grad[i] / rest
                grads[2][i] = masked(weights, kept[i]).mT @ g
                scores = (g @ v[i].mT).mul_(kept[i].view(torch.uint8)).sub_(mean[i]).mul_(weights).mul_(scale)
                grads[0][i], grads[1][i] = scores @ k[i], scores.mT @ q[i]
            return *grads, None, None
