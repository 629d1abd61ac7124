"""The accelerator of a run, quietly: what `barbench run`, `evaluate`, `predict` and `panels` compute on."""

import warnings
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs

from barbench.engine.precision import compute_exactly


def make_accelerator(device: str, precision: str = "fp32", timeout: float | None = None) -> Accelerator:
    """The accelerator of this process.

    Args:
        device: as torch names it.
        precision: as a cell has it: fp32, bf16 or fp16.
        timeout: seconds that one of several processes waits for the others before it fails; None: torch's own, ten
            minutes with NCCL and thirty with Gloo.
    """
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)  # accelerate takes the current one
    compute_exactly()
    patience = [] if timeout is None else [InitProcessGroupKwargs(timeout=timedelta(seconds=timeout))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Accelerator(
            cpu=device == "cpu",
            mixed_precision="no" if precision == "fp32" else precision,
            kwargs_handlers=patience,
        )


def fresh_accelerator(device: str, precision: str) -> Accelerator:
    """As `make_accelerator`, for a process that computes on several devices or in several precisions."""
    # accelerate keeps one state per process, and has no public call that resets it.
    AcceleratorState._reset_state(reset_partial_state=True)
    return make_accelerator(device, precision)
