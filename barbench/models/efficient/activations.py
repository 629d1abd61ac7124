"""QuickGELU and the frozen MLP around it, with one tensor saved for the backward pass."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from barbench.models.efficient.autocast import autocast_disabled, autocast_enabled

STEEPNESS = 1.702


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's QuickGELU, x * sigmoid(1.702 x), elementwise.

    Computed as silu(1.702 x) / 1.702: one fused kernel per direction, which saves only x.
    """
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
    """down(quick_gelu(up(x))), (..., d) -> (..., d), for frozen linear maps with bias, which get no gradient.

    The activation's two scalings are done by the matrix products and cancel in the backward pass, so that one kernel
    runs over the widened tokens between the products. These are the only saved activation.
    """
    if autocast_enabled(x):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    parameters = [p.to(x.dtype) for p in (up.weight, up.bias, down.weight, down.bias)]
    y: Tensor = _QuickMlp.apply(x, *parameters)
    return y


class _QuickMlp(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor) -> Tensor:
        with autocast_disabled(x):
            tokens = x.reshape(-1, x.shape[-1])
            wide = torch.addmm(up_bias, tokens, up.T, beta=STEEPNESS, alpha=STEEPNESS)
            ctx.save_for_backward(wide, up, down)
            # Without a backward pass the widened tokens may be overwritten.
            active = F.silu(wide, inplace=not ctx.needs_input_grad[0])
            return torch.addmm(down_bias, active, down.T, alpha=1 / STEEPNESS).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wide, up, down = ctx.saved_tensors
        with autocast_disabled(grad):
            wide_grad = grad.reshape(-1, grad.shape[-1]) @ down
            wide_grad = torch.ops.aten.silu_backward.grad_input(wide_grad, wide, grad_input=wide_grad)
            x_grad = wide_grad @ up
            return x_grad.view(grad.shape), None, None, None, None
