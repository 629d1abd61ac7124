"""The Triton kernels as operators of torch, so that tracers, FLOP counters and fake tensors see one operation each.

Where Triton is missing, `fusable` says no, and the plain form computes.
"""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

# Without a GPU Triton is of use to its interpreter only, and takes a second to import.
if find_spec("triton") and (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"):
    triton_kernels: Any = import_module("barbench.models.efficient.triton_kernels")
else:
    triton_kernels = None

ROWS = 4  # tokens that a program holds at a time
PROGRAMS = 512  # programs of a backward pass, which loop over the rows: a few per multiprocessor of a large card


def fusable(x: Tensor) -> bool:
    """Whether the operators here can compute on x's device.

    Args:
        x: any tensor on the device.

    Returns:
        True on CUDA with Triton, and in Triton's interpreter.
    """
    return triton_kernels is not None and (x.device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1")


def rows_of(x: Tensor) -> Tensor:
    """The last dimension as rows that lie one behind the other in memory, as the kernels read them.

    Args:
        x: (..., d).

    Returns:
        (N, d); a copy where x is transposed or expanded.
    """
    return x.reshape(-1, x.shape[-1]).contiguous()


_library: Any = torch.library.Library("barbench", "DEF")  # type: ignore[no-untyped-call]
_library.define(
    "planar(Tensor x, Tensor mu, Tensor log_sigma, Tensor gamma, Tensor beta, Tensor lam) -> (Tensor, Tensor)"
)
_library.define(
    "planar_backward(Tensor grad, Tensor x, Tensor mu, Tensor log_sigma, Tensor gamma, Tensor lam, Tensor moves)"
    " -> (Tensor, Tensor)"
)
_library.define("norm(Tensor x, Tensor weight, Tensor bias, float eps, ScalarType kind) -> (Tensor, Tensor, Tensor)")
_library.define(
    "norm_backward(Tensor grad, Tensor x, Tensor weight, Tensor mean, Tensor spread, bool sums) -> (Tensor, Tensor)"
)


Shapes = tuple[int, int, dict[str, Any]]


def _wide(kind: torch.dtype) -> torch.dtype:
    """What is computed in: float64 for float64, else float32."""
    return torch.float64 if kind == torch.float64 else torch.float32


def _shape(x: Tensor, sums: bool = False) -> Shapes:
    """Rows, columns, and what all kernels are specialised by; `sums` over rows take more registers."""
    rows, width = x.shape
    block = 1 << (width - 1).bit_length()
    accumulate = getattr(triton_kernels.tl, str(_wide(x.dtype)).removeprefix("torch."))
    warps = (8 if block >= 1024 else 4) * (1 + sums)
    return rows, width, {"lines": ROWS, "block": block, "kind": accumulate, "num_warps": warps}


def _programs(rows: int) -> int:
    return min(PROGRAMS, -(-rows // ROWS))


def _planar(
    x: Tensor, mu: Tensor, log_sigma: Tensor, gamma: Tensor, beta: Tensor, lam: Tensor
) -> tuple[Tensor, Tensor]:
    rows, width, settings = _shape(x)
    y, moves = torch.empty_like(x), x.new_empty(rows, len(gamma), dtype=_wide(x.dtype))
    grid = (-(-rows // ROWS),)
    triton_kernels.planar_forward[grid](
        x, mu, log_sigma, gamma, beta, lam, y, moves, rows, width, length=len(gamma), **settings
    )
    return y, moves


def _planar_backward(
    grad: Tensor, x: Tensor, mu: Tensor, log_sigma: Tensor, gamma: Tensor, lam: Tensor, moves: Tensor
) -> tuple[Tensor, Tensor]:
    rows, width, settings = _shape(x, sums=True)
    length, programs, x_grad = len(gamma), _programs(rows), torch.empty_like(x)
    sums = x.new_zeros(programs, 3 + 2 * length, width, dtype=_wide(x.dtype))
    padded = 1 << (length - 1).bit_length()
    triton_kernels.planar_backward[(programs,)](
        grad, x, mu, log_sigma, gamma, lam, moves, x_grad, sums, rows, width, length=length, slots=padded, **settings
    )
    return x_grad, sums.sum(0)


def _norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, kind: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    rows, width, settings = _shape(x)
    y = torch.empty_like(x, dtype=kind)
    mean, spread = (x.new_empty(rows, dtype=_wide(x.dtype)) for _ in range(2))
    grid = (-(-rows // ROWS),)
    triton_kernels.norm_forward[grid](x, weight, bias, y, mean, spread, rows, width, eps, **settings)
    return y, mean, spread


def _norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, spread: Tensor, sums: bool
) -> tuple[Tensor, Tensor]:
    rows, width, settings = _shape(x, sums=True)
    x_grad, programs = torch.empty_like(x), _programs(rows)
    parts = x.new_empty(programs if sums else 0, 2, width, dtype=_wide(x.dtype))
    triton_kernels.norm_backward[(programs,)](
        grad, x, weight, mean, spread, x_grad, parts, rows, width, tuned=sums, **settings
    )
    return x_grad, parts.sum(0)


def _planar_meta(x: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(len(x), len(weights[2]), dtype=_wide(x.dtype))


def _planar_backward_meta(
    grad: Tensor, x: Tensor, mu: Tensor, log_sigma: Tensor, gamma: Tensor, lam: Tensor, moves: Tensor
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(3 + 2 * len(gamma), x.shape[1], dtype=_wide(x.dtype))


def _norm_meta(x: Tensor, weight: Tensor, bias: Tensor, eps: float, kind: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    wide = _wide(x.dtype)
    return torch.empty_like(x, dtype=kind), x.new_empty(len(x), dtype=wide), x.new_empty(len(x), dtype=wide)


def _norm_backward_meta(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, spread: Tensor, sums: bool
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(2, x.shape[1], dtype=_wide(x.dtype))


for _name, _kernel, _meta in (
    ("planar", _planar, _planar_meta),
    ("planar_backward", _planar_backward, _planar_backward_meta),
    ("norm", _norm, _norm_meta),
    ("norm_backward", _norm_backward, _norm_backward_meta),
):
    _library.impl(_name, _kernel, "CUDA")
    _library.impl(_name, _kernel, "CPU")  # in Triton's interpreter
    _library.impl(_name, _meta, "Meta")


@register_flop_formula(torch.ops.barbench.planar)
def _planar_flops(x: Any, mu: Any, log_sigma: Any, gamma: Any, *_: Any, **__: Any) -> int:
    """As the plain form: its products with `inner` and with `lam`."""
    return int(4 * x[0] * x[1] * gamma[0])


@register_flop_formula(torch.ops.barbench.planar_backward)
def _planar_backward_flops(grad: Any, x: Any, mu: Any, log_sigma: Any, gamma: Any, *_: Any, **__: Any) -> int:
    """As the plain form: four products of the same size."""
    return int(8 * x[0] * x[1] * gamma[0])
