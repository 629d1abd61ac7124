"""LayerNorm that reads and writes in the precision of autocast, with weights and statistics in fp32."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from barbench.models.efficient.autocast import autocast_disabled, autocast_enabled
from barbench.models.efficient.fused import fusable, rows_of
from barbench.models.efficient.kernels import lean


def layer_norm(module: nn.Module, x: Tensor) -> Tensor:
    """What `module` computes.

    Under autocast torch's LayerNorm writes fp32, which the product behind it reads to write it again in half precision.
    On lean kernels it is written once, in half precision.

    Args:
        module: a LayerNorm over the last dimension, or any other norm, which computes by itself.
        x: (..., d).

    Returns:
        The shape of x.
    """
    if isinstance(module, nn.LayerNorm) and _lean(module, x):
        return _fused(module, x)
    y: Tensor = module(x)
    return y


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` over the last dimension, see `layer_norm`."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the last dimension.

        Args:
            input: (..., d).

        Returns:
            The shape of `input`.
        """
        return _fused(self, input) if _lean(self, input) else super().forward(input)


def _lean(module: nn.LayerNorm, x: Tensor) -> bool:
    simple = len(module.normalized_shape) == 1 and module.weight is not None and module.bias is not None
    return simple and lean(x) and fusable(x) and autocast_enabled(x)


def _fused(module: nn.LayerNorm, x: Tensor) -> Tensor:
    y: Tensor = _Norm.apply(x, module.weight, module.bias, module.eps, torch.get_autocast_dtype(x.device.type))
    return y


class _Norm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, kind: torch.dtype) -> Tensor:
        with autocast_disabled(x):
            tokens = rows_of(x)
            y, mean, spread = torch.ops.barbench.norm(tokens, weight, bias, eps, kind)
            ctx.save_for_backward(x, weight, mean, spread)
            out: Tensor = y.view(x.shape)
            return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, spread = ctx.saved_tensors
        tuned = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        with autocast_disabled(x):
            tokens, g = rows_of(x), rows_of(grad)
            x_grad, sums = torch.ops.barbench.norm_backward(g, tokens, weight, mean, spread, tuned)
            w, b = (sums[0].to(weight.dtype), sums[1].to(weight.dtype)) if tuned else (None, None)
            return x_grad.view(x.shape), w, b, None, None
