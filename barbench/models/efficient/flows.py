"""Planar flows (Eq. 1) that save only their input and J numbers per token for the backward pass."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from barbench.models.efficient.autocast import autocast_disabled
from barbench.models.efficient.fused import fusable, rows_of
from barbench.models.efficient.kernels import use_fused


def planar_flow(x: Tensor, mu: Tensor, log_sigma: Tensor, gamma: Tensor, beta: Tensor, lam: Tensor) -> Tensor:
    """J planar transforms z + lam_j tanh(gamma_j . z + beta_j) after an elementwise affine map, exp(log_sigma) x + mu.

    Each transform adds a multiple of its lam, so all inner products follow from those with the input and the small
    matrix gamma_j . lam_k: the tokens are read once and written once, instead of J times. With fused kernels, one
    kernel per direction holds the tokens while it applies the transforms one by one.

    Args:
        x: tokens (..., d).
        mu: (d).
        log_sigma: (d).
        gamma: (J, d).
        beta: (J).
        lam: (J, d).

    Returns:
        (..., d).
    """
    if use_fused() and fusable(x):
        y: Tensor = _FusedFlow.apply(x, mu, log_sigma, gamma, beta, lam)
        return y
    sigma = log_sigma.exp()
    # gamma_j . z + beta_j for z = mu + sigma * x, before any transform.
    inner = gamma * sigma
    start = gamma @ mu + beta
    # What transform k adds to the argument of transform j: gamma_j . lam_k.
    mixed = gamma @ lam.T
    return planar(x, mu, sigma, inner, start, mixed, lam)


def planar(x: Tensor, mu: Tensor, sigma: Tensor, inner: Tensor, start: Tensor, mixed: Tensor, lam: Tensor) -> Tensor:
    """J planar transforms after an elementwise affine map, merged.

    y = mu + sigma * x + sum_j lam_j m_j with m_j = tanh(inner_j . x + start_j + sum_{k<j} mixed_jk m_k). Of the size of
    x, only x itself is saved.

    Args:
        x: tokens (..., d).
        mu: (d).
        sigma: (d).
        inner: (J, d).
        start: (J).
        mixed: (J, J), of which the part below the diagonal is read.
        lam: (J, d).

    Returns:
        (..., d).
    """
    y: Tensor = _MergedFlow.apply(x, mu, sigma, inner, start, mixed, lam)
    return y


class _MergedFlow(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mu: Tensor, sigma: Tensor, inner: Tensor, start: Tensor, mixed: Tensor, lam: Tensor
    ) -> Tensor:
        with autocast_disabled(x):
            tokens = x.reshape(-1, x.shape[-1])
            dtype = x.dtype  # the parameters stay in fp32 where autocast has lowered the tokens' precision
            # m_j, one transform after the other: each needs the ones before it.
            moves = torch.addmm(start.to(dtype), tokens, inner.to(dtype).T)
            for j, row in enumerate(mixed.to(dtype)):
                moves[:, j] = torch.addmv(moves[:, j], moves[:, :j], row[:j]).tanh_()
            # mu + sigma * x + sum_j lam_j m_j. `out`: in place, and seen by torch's FLOP counter.
            y = torch.addcmul(mu.to(dtype), sigma.to(dtype), tokens)
            torch.addmm(y, moves, lam.to(dtype), out=y)
            ctx.save_for_backward(x, sigma, inner, mixed, lam, moves)
            return y.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, sigma, inner, mixed, lam, moves = ctx.saved_tensors
        with autocast_disabled(x):
            dtype = x.dtype
            tokens = x.reshape(-1, x.shape[-1])
            g = grad.reshape(-1, grad.shape[-1])
            # Gradient of each m_j, then of its tanh's argument, from the last transform to the first.
            arguments = g @ lam.to(dtype).T
            mixed_grad = torch.zeros_like(mixed)
            for j in reversed(range(len(mixed))):
                arguments[:, j] *= 1 - moves[:, j].square()
                mixed_grad[j, :j] = arguments[:, j] @ moves[:, :j]
                arguments[:, :j].addr_(arguments[:, j], mixed[j, :j].to(dtype))
            # Gradients of the parameters: mu, sigma, inner, start, mixed and lam.
            sums = [g.sum(0), (g * tokens).sum(0), arguments.T @ tokens, arguments.sum(0), mixed_grad, moves.T @ g]
            parameter_grads = [total.to(lam.dtype) for total in sums]
            x_grad = None
            if ctx.needs_input_grad[0]:
                x_grad = g * sigma.to(dtype)
                x_grad = torch.addmm(x_grad, arguments, inner.to(dtype), out=x_grad).view(x.shape)
            return x_grad, *parameter_grads


class _FusedFlow(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mu: Tensor, log_sigma: Tensor, gamma: Tensor, beta: Tensor, lam: Tensor) -> Tensor:
        with autocast_disabled(x):
            y, moves = torch.ops.barbench.planar(rows_of(x), mu, log_sigma, gamma, beta, lam)
            ctx.save_for_backward(x, mu, log_sigma, gamma, lam, moves)
            out: Tensor = y.view(x.shape)
            return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, mu, log_sigma, gamma, lam, moves = ctx.saved_tensors
        with autocast_disabled(x):
            x_grad, sums = torch.ops.barbench.planar_backward(
                rows_of(grad), rows_of(x), mu, log_sigma, gamma, lam, moves
            )
            # The rows of `sums`: mu, log_sigma, J of gamma, J of lam, and one whose first J numbers are beta's.
            length = len(gamma)
            gamma_grad = sums[2 : 2 + length]
            lam_grad = sums[2 + length : 2 + 2 * length]
            beta_grad = sums[-1, :length]
            parameters = [total.to(gamma.dtype) for total in (sums[0], sums[1], gamma_grad, beta_grad, lam_grad)]
            return x_grad.view(x.shape), *parameters
