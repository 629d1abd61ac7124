"""Operations that keep little for the backward pass and go over the tokens few times. Plain torch, any device and
precision."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

STEEPNESS = 1.702
_PARTS = 1 << 16  # into which a dropout mask's chance is cut where its bits are drawn sixteen at a time


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's x * sigmoid(1.702 x), as silu(1.702 x) / 1.702: a fused kernel each way that keeps x alone."""
    y: Tensor = _QuickGelu.apply(x)
    return y


class _QuickGelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.silu(STEEPNESS * x, inplace=True).mul_(1 / STEEPNESS)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        y: Tensor = torch.ops.aten.silu_backward(grad, STEEPNESS * x)
        return y


def quick_mlp(x: Tensor, up: nn.Linear, down: nn.Linear) -> Tensor:
    """down(quick_gelu(up(x))) for frozen maps, (..., d) -> (..., d). The activation's two scalings ride along in the
    matrix products, and cancel in the backward pass, so that between the products one kernel goes over the widened
    tokens. Kept are these, once."""
    if autocasts(x):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    y: Tensor = _QuickMlp.apply(x, *(t.to(x.dtype) for t in (up.weight, up.bias, down.weight, down.bias)))
    return y


class _QuickMlp(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor) -> Tensor:
        with as_given(x):
            tokens = x.reshape(-1, x.shape[-1])
            wide = torch.addmm(up_bias, tokens, up.T, beta=STEEPNESS, alpha=STEEPNESS)
            ctx.save_for_backward(wide, up, down)
            active = F.silu(wide, inplace=not ctx.needs_input_grad[0])
            return torch.addmm(down_bias, active, down.T, alpha=1 / STEEPNESS).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wide, up, down = ctx.saved_tensors
        with as_given(grad):
            given = grad.reshape(-1, grad.shape[-1]) @ down
            given = torch.ops.aten.silu_backward.grad_input(given, wide, grad_input=given) @ up
            return given.view(grad.shape), None, None, None, None


def planar(x: Tensor, mu: Tensor, sigma: Tensor, inner: Tensor, start: Tensor, mixed: Tensor, lam: Tensor) -> Tensor:
    """mu + sigma * x + sum_j lam_j m_j with m_j = tanh(inner_j . x + start_j + sum_{k<j} mixed_jk m_k).

    x (..., d), mu and sigma (d), inner and lam (J, d), start (J), mixed (J, J), of which the part below the diagonal is
    read -> (..., d). Of the size of x only x itself is kept.
    """
    y: Tensor = _Planar.apply(x, mu, sigma, inner, start, mixed, lam)
    return y


def as_given(x: Tensor) -> AbstractContextManager[Any]:
    """Inside these functions types are those of the tensors: autocast would mix them."""
    return torch.autocast(x.device.type, enabled=False) if autocasts(x) else nullcontext()


def autocasts(x: Tensor) -> bool:
    """Whether autocast is on where x is; the meta device has none."""
    return torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type)


class _Planar(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mu: Tensor, sigma: Tensor, inner: Tensor, start: Tensor, mixed: Tensor, lam: Tensor
    ) -> Tensor:
        with as_given(x):
            tokens = x.reshape(-1, x.shape[-1])
            kind = x.dtype  # the parameters stay in fp32 where autocast has made the tokens smaller
            moves = torch.addmm(start.to(kind), tokens, inner.to(kind).T)
            for j, row in enumerate(mixed.to(kind)):
                moves[:, j] = torch.addmv(moves[:, j], moves[:, :j], row[:j]).tanh_()
            y = torch.addcmul(mu.to(kind), sigma.to(kind), tokens)
            torch.addmm(y, moves, lam.to(kind), out=y)  # `out`: in place, and seen by a counter of FLOPs
            ctx.save_for_backward(x, sigma, inner, mixed, lam, moves)
            return y.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, sigma, inner, mixed, lam, moves = ctx.saved_tensors
        with as_given(x):
            kind, weights = x.dtype, lam.dtype
            tokens, g = x.reshape(-1, x.shape[-1]), grad.reshape(-1, x.shape[-1])
            seen = g @ lam.to(kind).T  # the gradient of each move, then of what its tanh saw
            mixing = torch.zeros_like(mixed)
            for j in reversed(range(len(mixed))):
                seen[:, j] *= 1 - moves[:, j].square()
                mixing[j, :j] = seen[:, j] @ moves[:, :j]
                seen[:, :j].addr_(seen[:, j], mixed[j, :j].to(kind))
            totals = (g.sum(0), (g * tokens).sum(0), seen.T @ tokens, seen.sum(0), mixing, moves.T @ g)
            given = None
            if ctx.needs_input_grad[0]:
                given = g * sigma.to(kind)
                given = torch.addmm(given, seen, inner.to(kind), out=given).view(x.shape)
            return given, *(total.to(weights) for total in totals)


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
        return only(x, kept).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return only(grad, kept).mul_(ctx.scale), None


def drawn(shape: Sequence[int], chance: float, device: torch.device) -> Tensor:
    """Booleans that are true with this chance; on the CPU to one part in 65,536, drawn four from a 64-bit number."""
    if device.type != "cpu":
        return torch.empty(shape, dtype=torch.bool, device=device).bernoulli_(chance)
    count, lowest = math.prod(shape), torch.iinfo(torch.int64).min
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(lowest, None).view(torch.int16)
    return (bits[:count] <= round(chance * _PARTS) - _PARTS // 2 - 1).view(shape)


def only(x: Tensor, kept: Tensor) -> Tensor:
    """x where kept, else zero. As bytes: a product with booleans makes a copy of them first."""
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
        with as_given(q):
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
        with as_given(q):
            grads = tuple(torch.empty_like(t) for t in (q, k, v))
            scale, rest = q.shape[-1] ** -0.5, 1 - ctx.dropout
            mean = (grad * y).sum(-1, keepdim=True)  # of the weights' gradients, under the weights themselves
            for i, look in enumerate(ctx.looks):
                weights, g = _weights(q[i], k[i], look), grad[i] / rest
                grads[2][i] = only(weights, kept[i]).mT @ g
                scores = (g @ v[i].mT).mul_(kept[i].view(torch.uint8)).sub_(mean[i]).mul_(weights).mul_(scale)
                grads[0][i], grads[1][i] = scores @ k[i], scores.mT @ q[i]
            return *grads, None, None
