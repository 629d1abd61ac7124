"""What this host computes with: its device and its cores."""

import os

import torch

from barbench.errors import UsageError


def pick_device(name: str) -> str:
    """Check a device of the command line.

    Args:
        name: as torch names it; `auto` means cuda or mps if there is one, else cpu.

    Returns:
        The device's name, never `auto`.

    Raises:
        UsageError: for a device that this host does not have.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind == "cuda" and (not number or number.isdecimal()):  # counted without opening a context on the GPU
        count = torch.cuda.device_count()
        if int(number or 0) >= count:
            raise UsageError(
                f"--device {name}: this host has {count or 'no'} GPU{'s' * (count > 1)} that torch can use"
            )
        return name
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return name


def loader_count(device: str, threads: int) -> int:
    """Loader processes of one training process, where the user says nothing.

    Args:
        device: as torch names it.
        threads: cores of the training process.

    Returns:
        0 on a CPU, where the model needs every core and small images decode fast; else all cores but two, and 16 at
        most, which feed a fast GPU without a cache of images.
    """
    return 0 if device == "cpu" else min(16, max(1, threads - 2))


def core_count() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
