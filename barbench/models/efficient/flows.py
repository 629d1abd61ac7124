"""Planar flows (Eq. 1) with only their input and J numbers per token saved for the backward pass."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from barbench.models.efficient.autocast import autocast_disabled


def planar(x: Tensor, mu: Tensor, sigma: Tensor, inner: Tensor, start: Tensor, mixed: Tensor, lam: Tensor) -> Tensor:
    """mu + sigma * x + sum_j lam_j m_j with m_j = tanh(inner_j . x + start_j + sum_{k<j} mixed_jk m_k).

    x (..., d), mu and sigma (d), inner and lam (J, d), start (J), mixed (J, J), of which the part below the diagonal is
    read -> (..., d). Of the size of x only x itself is kept.
    """
    y: Tensor = _Planar.apply(x, mu, sigma, inner, start, mixed, lam)
    return y


class _Planar(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mu: Tensor, sigma: Tensor, inner: Tensor, start: Tensor, mixed: Tensor, lam: Tensor
    ) -> Tensor:
        with autocast_disabled(x):
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
        with autocast_disabled(x):
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
