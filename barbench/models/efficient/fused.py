"""The Triton kernels as operators of torch, so that tracers, FLOP counters and fake tensors see one operation each.

Where Triton is missing, `fusable` says no, and torch's own operations compute.
"""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

triton_kernels: Any = None
import_error: Exception | None = None
# Without a GPU Triton is of use to its interpreter only, and takes a second to import.
if find_spec("triton") and (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"):
    try:
        triton_kernels = import_module("barbench.models.efficient.triton_kernels")
    except Exception as error:  # a broken one concerns those alone who ask for fused kernels
        import_error = error

ROWS = 4  # tokens that a program holds at a time
PROGRAMS = 512  # programs of a backward pass, which loop over the rows: a few per multiprocessor of a large card


def fusable(x: Tensor) -> bool:
    """Whether the operators here can compute on x's device: on CUDA with Triton, and in Triton's interpreter."""
    return triton_kernels is not None and (x.device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1")


def rows_of(x: Tensor) -> Tensor:
    """Tokens (..., d) as contiguous rows (N, d); a copy where x is transposed or expanded."""
    return x.reshape(-1, x.shape[-1]).contiguous()


_library: Any = torch.library.Library("barbench", "DEF")  # type: ignore[no-untyped-call]
_library.define(
    "planar(Tensor x, Tensor mu, Tensor log_sigma, Tensor gamma, Tensor beta, Tensor lam) -> (Tensor, Tensor)"
)
_library.define(
    "planar_backward(Tensor grad, Tensor x, Tensor mu, Tensor log_sigma, Tensor gamma, Tensor lam, Tensor moves)"
    " -> (Tensor, Tensor)"
)
_library.define("norm(Tensor x, Tensor weight, Tensor bias, float eps, ScalarType dtype) -> (Tensor, Tensor, Tensor)")
_library.define(
    "norm_backward(Tensor grad, Tensor x, Tensor weight, Tensor mean, Tensor rstd, bool sums) -> (Tensor, Tensor)"
)


class _Launch(NamedTuple):
    """How a kernel is launched on tokens (rows, width); `settings` are what Triton specializes it by."""

    rows: int
    width: int
    settings: dict[str, Any]


def _wide(dtype: torch.dtype) -> torch.dtype:
    """What is computed in: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _launch(x: Tensor, sums: bool = False) -> _Launch:
    """The launch for tokens x (N, d); a kernel that `sums` over rows takes more registers."""
    rows, width = x.shape
    block = 1 << (width - 1).bit_length()
    accumulate = getattr(triton_kernels.tl, str(_wide(x.dtype)).removeprefix("torch."))
    warps = 8 if block >= 1024 else 4
    if sums:
        warps *= 2
    return _Launch(rows, width, {"lines": ROWS, "block": block, "dtype": accumulate, "num_warps": warps})


def _programs(rows: int) -> int:
    return min(PROGRAMS, -(-rows // ROWS))


# The operators on CUDA, and on the CPU in Triton's interpreter.


def _planar(
    x: Tensor, mu: Tensor, log_sigma: Tensor, gamma: Tensor, beta: Tensor, lam: Tensor
) -> tuple[Tensor, Tensor]:
    rows, width, settings = _launch(x)
    length = len(gamma)
    y = torch.empty_like(x)
    moves = x.new_empty(rows, length, dtype=_wide(x.dtype))
    grid = (-(-rows // ROWS),)
    triton_kernels.planar_forward[grid](
        x, mu, log_sigma, gamma, beta, lam, y, moves, rows, width, length=length, **settings
    )
    return y, moves


def _planar_backward(
    grad: Tensor, x: Tensor, mu: Tensor, log_sigma: Tensor, gamma: Tensor, lam: Tensor, moves: Tensor
) -> tuple[Tensor, Tensor]:
    rows, width, settings = _launch(x, sums=True)
    length = len(gamma)
    programs = _programs(rows)
    x_grad = torch.empty_like(x)
    # One block of sums per program; they are added up here, in an order that never changes.
    sums = x.new_zeros(programs, 3 + 2 * length, width, dtype=_wide(x.dtype))
    slots = 1 << (length - 1).bit_length()
    triton_kernels.planar_backward[(programs,)](
        grad, x, mu, log_sigma, gamma, lam, moves, x_grad, sums, rows, width, length=length, slots=slots, **settings
    )
    return x_grad, sums.sum(0)


def _norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    rows, width, settings = _launch(x)
    y = torch.empty_like(x, dtype=dtype)
    mean = x.new_empty(rows, dtype=_wide(x.dtype))
    rstd = x.new_empty(rows, dtype=_wide(x.dtype))
    grid = (-(-rows // ROWS),)
    triton_kernels.norm_forward[grid](x, weight, bias, y, mean, rstd, rows, width, eps, **settings)
    return y, mean, rstd


def _norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, sums: bool
) -> tuple[Tensor, Tensor]:
    rows, width, settings = _launch(x, sums=True)
    programs = _programs(rows)
    x_grad = torch.empty_like(x)
    parts = x.new_empty(programs if sums else 0, 2, width, dtype=_wide(x.dtype))
    triton_kernels.norm_backward[(programs,)](
        grad, x, weight, mean, rstd, x_grad, parts, rows, width, tuned=sums, **settings
    )
    return x_grad, parts.sum(0)


# The shapes of their results, for fake tensors and tracers.


def _planar_meta(x: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
    gamma = weights[2]
    return torch.empty_like(x), x.new_empty(len(x), len(gamma), dtype=_wide(x.dtype))


def _planar_backward_meta(
    grad: Tensor, x: Tensor, mu: Tensor, log_sigma: Tensor, gamma: Tensor, lam: Tensor, moves: Tensor
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(3 + 2 * len(gamma), x.shape[1], dtype=_wide(x.dtype))


def _norm_meta(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    wide = _wide(x.dtype)
    return torch.empty_like(x, dtype=dtype), x.new_empty(len(x), dtype=wide), x.new_empty(len(x), dtype=wide)


def _norm_backward_meta(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, sums: bool
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
    """As without Triton: its products with `inner` and with `lam`."""
    return int(4 * x[0] * x[1] * gamma[0])


@register_flop_formula(torch.ops.barbench.planar_backward)
def _planar_backward_flops(grad: Any, x: Any, mu: Any, log_sigma: Any, gamma: Any, *_: Any, **__: Any) -> int:
    """As without Triton: four products of the same size."""
    return int(8 * x[0] * x[1] * gamma[0])
