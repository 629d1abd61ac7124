"""What a training step asks of a GPU, without one: kernels, FLOPs, bytes moved, waits of the host.

    python -m tools.gpu_check.simulate etris barleria --batch 32

A step at full size is walked on fake tensors, which have shapes and no content, with the rules of CUDA's autocast and
its choice of attention kernels put in the place of the CPU's. Each operation counts as one kernel that reads its inputs
and writes its outputs once. `ms` is the bound of an H100: for each kernel the larger of FLOPs / 790 TFLOP/s and
bytes / 3 TB/s, and 2.5 microseconds at least. Forward pass, loss and backward pass; the optimizer's step is not in it.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from barbench.datasets.pixels import letterbox
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models import attention
from barbench.models.efficient import dropout, fused
from barbench.models.efficient.kernels import choose_kernels
from barbench.models.segmenter import Segmenter, training_loss
from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone

RATE = 790e12  # FLOP/s of products in half precision
BANDWIDTH = 3.0e12  # bytes/s
LEAST = 2.5e-6  # seconds of a kernel
HALF = (torch.bfloat16, torch.float16)
WAITS = ("aten::_local_scalar_dense", "aten::item", "aten::nonzero")
NO_KERNEL = ("aten::empty", "aten::new_empty", "aten::_unsafe_view", "aten::detach", "aten::lift_fresh", "prim::")


@dataclass
class Step:
    """Totals of a step; `waits` are operations whose result the host needs before it continues."""

    kernels: int = 0
    flops: int = 0
    bytes: int = 0
    seconds: float = 0.0
    waits: int = 0
    by_operation: dict[str, list[float]] = field(default_factory=dict)


class _Count(TorchDispatchMode):
    """Adds every operation to a step."""

    def __init__(self) -> None:
        super().__init__()
        self.step = Step()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name in WAITS:
            self.step.waits += 1
        out = func(*args, **kwargs)
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if not view and not name.startswith(NO_KERNEL):
            self._add(func, name, out, args, kwargs)
        return out

    def _add(self, func: Any, name: str, out: Any, args: Any, kwargs: Any) -> None:
        count = flop_registry.get(func._overloadpacket)
        flops = count(*args, **kwargs, out_val=out) if count else 0
        read = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        in_place = name.endswith("_") or "out" in kwargs
        written = [] if in_place else [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        # An expanded tensor is read once.
        moved = sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in (*read, *written))
        rate = RATE if any(t.dtype in HALF for t in read) else RATE / 16
        seconds = max(flops / rate, moved / BANDWIDTH, LEAST)
        self.step.kernels += 1
        self.step.flops += flops
        self.step.bytes += moved
        self.step.seconds += seconds
        row = self.step.by_operation.setdefault(name, [0, 0, 0])
        row[0] += 1
        row[1] += moved
        row[2] += seconds


def _in_fp32(function: Callable[..., Any]) -> Callable[..., Any]:
    """As CUDA's autocast calls functions that it keeps in fp32."""

    def up(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.dtype in HALF else value

    def called(*args: Any, **kwargs: Any) -> Any:
        if torch.is_autocast_enabled("cpu"):
            args = tuple(map(up, args))
            kwargs = {name: up(value) for name, value in kwargs.items()}
        return function(*args, **kwargs)

    return called


def _attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0) -> Tensor:
    """The kernels that CUDA has for attention: flash without a mask, the memory-efficient one with a mask."""
    if torch.is_autocast_enabled("cpu"):
        q, k, v = (t.to(torch.bfloat16) for t in (q, k, v))
    if attn_mask is None:
        y: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, False)[0]
        return y
    # The mask as what is added to the scores, in full size.
    bias = attn_mask
    if bias.dtype == torch.bool:
        bias = torch.zeros_like(bias, dtype=q.dtype).masked_fill(~bias, float("-inf"))
    bias = bias.to(q.dtype).expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    y = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, bias, torch.is_grad_enabled(), dropout_p)[0]
    return y


def _dropped(self: nn.Dropout, x: Tensor) -> Tensor:
    """CUDA's one kernel for dropout."""
    y: Tensor = torch.native_dropout(x, self.p, self.training)[0]
    return y


def _drawn(shape: Any, keep_prob: float, device: torch.device) -> Tensor:
    return torch.empty(shape, dtype=torch.bool, device=device).bernoulli_(keep_prob)


@contextmanager
def cuda_rules() -> Iterator[None]:
    """CUDA's rules on CPU tensors, and Triton's kernels counted as if they were there."""
    # What autocast keeps in fp32, then the kernels that CUDA has and a CPU has not.
    rules = [mock.patch.object(F, n, _in_fp32(getattr(F, n))) for n in ("layer_norm", "cosine_similarity", "mse_loss")]
    rules += [
        mock.patch.object(F, "scaled_dot_product_attention", _attention),
        mock.patch.object(nn.Dropout, "forward", _dropped),
        mock.patch.object(dropout, "bernoulli_mask", _drawn),
        mock.patch.object(attention, "attend_dropped", _attention),
        mock.patch.object(fused, "triton_kernels", fused),
        mock.patch.dict("os.environ", TRITON_INTERPRET="1"),
    ]
    for rule in rules:
        rule.start()
    try:
        yield
    finally:
        for rule in reversed(rules):
            rule.stop()


def simulate(method: str, kernels: str, load: Callable[[], Backbone], batch: int) -> Step:
    """Walk one training step in bf16 on fake tensors; `load` gives the backbone."""
    letterbox._constants.cache_clear()
    choose_kernels(kernels)
    try:
        # Built of real numbers, which some methods read: words of a prompt, and draws that lie outside their bounds.
        segmenter = build_segmenter(resolve(method)[0], load()).train()
        with FakeTensorMode(allow_non_fake_inputs=True) as mode, cuda_rules():
            segmenter._apply(mode.from_tensor)
            return _walked(segmenter, segmenter.image_size, batch)
    finally:
        choose_kernels("auto")
        letterbox._constants.cache_clear()


def _walked(segmenter: Segmenter, size: int, batch: int) -> Step:
    pixels = torch.empty(batch, size, size, 3, dtype=torch.uint8)
    ids = torch.zeros(batch, 9, dtype=torch.long)
    mask = torch.empty(batch, size // 4, size // 4)
    letterbox.normalized(pixels, segmenter.normalization)  # its constants are copied once
    with _Count() as counted:
        with torch.autocast("cpu", torch.bfloat16):
            output = segmenter(letterbox.normalized(pixels, segmenter.normalization), ids)
            loss = training_loss(output, mask)
        loss.backward()  # type: ignore[no-untyped-call]
    return counted.step


def main() -> None:
    """Print a table: kernels, bytes and bound per method, low_memory and fused."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--backbone", default="ViT-B-16-quickgelu")
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--kernels", default="low_memory,fused")
    parser.add_argument("--top", type=int, default=0, help="operations that take most of the bound")
    asked = parser.parse_args()
    print(f"{'method':<12} {'kernels':<10} {'count':>7} {'TFLOP':>7} {'GB':>7} {'ms':>7} {'waits':>6}")
    for method in asked.methods:
        for kernels in asked.kernels.split(","):
            step = simulate(method, kernels, lambda: load_backbone(asked.backbone, "random", asked.size), asked.batch)
            totals = f"{step.kernels:>7} {step.flops / 1e12:>7.2f} {step.bytes / 1e9:>7.1f} {step.seconds * 1e3:>7.1f}"
            print(f"{method:<12} {kernels:<10} {totals} {step.waits:>6}", flush=True)
            rows = sorted(step.by_operation.items(), key=lambda row: -row[1][2])[: asked.top]
            for name, (count, moved, seconds) in rows:
                print(f"    {name:<56} {count:>6} {moved / 1e9:>7.1f} GB {seconds * 1e3:>6.1f} ms")


if __name__ == "__main__":
    main()
