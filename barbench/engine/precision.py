"""What precision really computes, beyond the name that a cell gives it."""

import os

import torch
from accelerate import Accelerator
from pydantic import JsonValue

from barbench.models.efficient.kernels import use_fused

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What autocast computes in; in fp32 it is off."""


def compute_exactly() -> None:
    """Let fp32 be fp32 on CUDA: without TF32, which convolutions use by default.

    For the whole process. Under autocast it makes no difference, since products and convolutions are in bf16 or fp16.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def precision_facts(accelerator: Accelerator) -> dict[str, JsonValue]:
    """For the record: what autocast computes in, whether TF32 may be used, and which allocator hands out memory.

    Returns:
        `autocast` (a dtype's name, or None) and `kernels` (`low_memory` or `fused`); on CUDA also `tf32_products`,
        `tf32_convolutions`, `allocator` and `allocator_settings`.
    """
    device = accelerator.device
    with accelerator.autocast():
        enabled = torch.is_autocast_enabled(device.type)
        dtype = str(torch.get_autocast_dtype(device.type)).removeprefix("torch.") if enabled else None
    kernels = "fused" if use_fused() else "low_memory"
    facts: dict[str, JsonValue] = {"autocast": dtype, "kernels": kernels}
    if device.type != "cuda":
        return facts
    return facts | {
        "tf32_products": torch.backends.cuda.matmul.allow_tf32,
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        "allocator": torch.cuda.get_allocator_backend(),
        "allocator_settings": os.environ.get("PYTORCH_ALLOC_CONF") or os.environ.get("PYTORCH_CUDA_ALLOC_CONF"),
    }
