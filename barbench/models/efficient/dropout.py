"""Dropout, of features and of attention weights, with a boolean mask saved for the backward pass."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from barbench.models.efficient.autocast import autocast_disabled
from barbench.models.efficient.kernels import use_fused

_PARTS = 1 << 16  # a probability is rounded to this many parts: 16 random bits decide an element


class Dropout(nn.Dropout):
    """`nn.Dropout` that saves a boolean mask; on the CPU torch saves one of floats, and draws it slowly."""

    def forward(self, input: Tensor) -> Tensor:
        """Set elements to zero with probability `p` in training mode, and scale the others by 1 / (1 - p)."""
        if not self.training or self.p == 0:
            return input
        if use_fused():  # CUDA has one kernel for it, with a mask of booleans
            return super().forward(input)
        y: Tensor = _Drop.apply(input, self.p)
        return y


def without_dropout(model: nn.Module) -> None:
    """Let a model drop no feature and no attention weight in training mode, in place."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0


class _Drop(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropout: float) -> Tensor:
        keep = bernoulli_mask(x.shape, 1 - dropout, x.device)
        ctx.save_for_backward(keep)
        ctx.scale = 1 / (1 - dropout)
        return masked(x, keep).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return masked(grad, keep).mul_(ctx.scale), None


def bernoulli_mask(shape: Sequence[int], keep_prob: float, device: torch.device) -> Tensor:
    """Independent booleans of the given shape, each True with probability `keep_prob`.

    On the CPU the probability is rounded to one part in 65,536: four booleans come from one 64-bit random number.
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=torch.bool, device=device).bernoulli_(keep_prob)
    count = math.prod(shape)
    lowest = torch.iinfo(torch.int64).min
    numbers = torch.empty(-(-count // 4), dtype=torch.int64).random_(lowest, None)
    # Each quarter of a number is a uniform integer from -2^15 to 2^15 - 1.
    quarters = numbers.view(torch.int16)[:count]
    highest_kept = round(keep_prob * _PARTS) - _PARTS // 2 - 1
    return (quarters <= highest_kept).view(shape)


def masked(x: Tensor, keep: Tensor) -> Tensor:
    """x where `keep` (boolean, broadcastable to x) is True, else 0.

    The mask is viewed as uint8: multiplying by bool first copies it to x's dtype.
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
    y: Tensor = _AttendDropped.apply(q, k, v, mask, dropout)
    return y


def _weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax of one sample's scores, (heads, T, S); zero for a query that may attend to nothing, as torch has it."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if mask is None:
        weights: Tensor = scores.softmax(-1)
        return weights
    hidden = ~mask
    weights = scores.masked_fill_(hidden, float("-inf")).softmax(-1)
    return weights.masked_fill_(hidden, 0.0)  # the softmax of nothing is NaN


class _AttendDropped(Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        batch, heads, queries, _ = q.shape
        with autocast_disabled(q):
            keep = bernoulli_mask((batch, heads, queries, k.shape[2]), 1 - dropout, q.device)
            # Heads last in memory, so that `flatten` needs no copy.
            y = q.new_empty(batch, queries, heads, v.shape[3]).transpose(1, 2)
            masks: list[Tensor | None] = [None] * batch
            if mask is not None:
                masks = list(mask.expand(batch, -1, -1, -1))
            for i, attend in enumerate(masks):
                weights = _weights(q[i], k[i], attend)
                weights = weights.mul_(keep[i].view(torch.uint8))
                y[i] = (weights @ v[i]).div_(1 - dropout)
            ctx.save_for_backward(q, k, v, keep, y)
            ctx.masks = masks
            ctx.dropout = dropout
            return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, keep, y = ctx.saved_tensors
        with autocast_disabled(q):
            q_grad = torch.empty_like(q)
            k_grad = torch.empty_like(k)
            v_grad = torch.empty_like(v)
            scale = q.shape[-1] ** -0.5
            # The softmax's backward pass subtracts the weights' mean gradient, which is grad . y per query.
            mean = (grad * y).sum(-1, keepdim=True)
            for i, attend in enumerate(ctx.masks):
                # The weights are computed again from queries and keys.
                weights = _weights(q[i], k[i], attend)
                g = grad[i] / (1 - ctx.dropout)
                v_grad[i] = masked(weights, keep[i]).mT @ g
                # From the gradient of the dropped weights to that of the scores.
                scores_grad = (g @ v[i].mT).mul_(keep[i].view(torch.uint8))
                scores_grad = scores_grad.sub_(mean[i]).mul_(weights).mul_(scale)
                q_grad[i] = scores_grad @ k[i]
                k_grad[i] = scores_grad.mT @ q[i]
            return q_grad, k_grad, v_grad, None, None
