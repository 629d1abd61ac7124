"""LayerNorm that reads and writes in the precision of autocast, with weights and statistics in fp32."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from barbench.models.efficient.autocast import autocast_disabled, autocast_enabled
from barbench.models.efficient.fused import fusable, rows_of
from barbench.models.efficient.kernels import use_fused


def layer_norm(module: nn.Module, x: Tensor) -> Tensor:
    """What `module` computes, a LayerNorm over the last dimension or another norm: (..., d) -> (..., d).

    Under autocast torch's LayerNorm writes fp32, which the product behind it reads to write it again in half precision.
    With fused kernels it is written once, in half precision.
    """
    if isinstance(module, nn.LayerNorm) and _uses_triton(module, x):
        return _fused(module, x)
    y: Tensor = module(x)
    return y


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` over the last dimension, see `layer_norm`."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize the last dimension: (..., d) -> (..., d)."""
        if _uses_triton(self, input):
            return _fused(self, input)
        return super().forward(input)


def _uses_triton(module: nn.LayerNorm, x: Tensor) -> bool:
    has_usual_form = len(module.normalized_shape) == 1 and module.weight is not None and module.bias is not None
    return has_usual_form and use_fused() and fusable(x) and autocast_enabled(x)


def _fused(module: nn.LayerNorm, x: Tensor) -> Tensor:
    dtype = torch.get_autocast_dtype(x.device.type)
    y: Tensor = _Norm.apply(x, module.weight, module.bias, module.eps, dtype)
    return y


class _Norm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        with autocast_disabled(x):
            y, mean, rstd = torch.ops.barbench.norm(rows_of(x), weight, bias, eps, dtype)
            ctx.save_for_backward(x, weight, mean, rstd)
            out: Tensor = y.view(x.shape)
            return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, rstd = ctx.saved_tensors
        tuned = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        with autocast_disabled(x):
            x_grad, sums = torch.ops.barbench.norm_backward(rows_of(grad), rows_of(x), weight, mean, rstd, tuned)
            # A frozen norm needs no sums over all tokens.
            weight_grad = None
            bias_grad = None
            if tuned:
                weight_grad = sums[0].to(weight.dtype)
                bias_grad = sums[1].to(weight.dtype)
            return x_grad.view(x.shape), weight_grad, bias_grad, None, None
