"""The accelerator of a run, quietly: what `barbench run`, `evaluate`, `predict` and `panels` compute on."""

import warnings

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from barbench.engine.precision import compute_exactly


def make_accelerator(device: str, precision: str = "fp32") -> Accelerator:
    """`device` as torch names it; `precision` as a cell has it: fp32, bf16 or fp16."""
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)  # accelerate takes the current one
    compute_exactly()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Accelerator(cpu=device == "cpu", mixed_precision="no" if precision == "fp32" else precision)


def fresh_accelerator(device: str, precision: str) -> Accelerator:
    """As `make_accelerator`, for a process that computes on several devices or in several precisions."""
    # accelerate keeps one state per process, and has no public call that resets it.
    AcceleratorState._reset_state(reset_partial_state=True)
    return make_accelerator(device, precision)
