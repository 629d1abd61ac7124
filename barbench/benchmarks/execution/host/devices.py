"""What this host computes with: its devices and cores, and how they are divided among cells."""

import os

import torch

from barbench.benchmarks.execution.host.variables import Slot
from barbench.errors import UsageError
from barbench.spec.text import plural, split_list


def pick_device(name: str) -> str:
    """A device of the command line as torch names it: `auto` is cuda or mps if there is one, else cpu. UsageError for
    one that this host does not have."""
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind == "cuda" and (not number or number.isdecimal()):  # counted without opening a context on the GPU
        count = torch.cuda.device_count()
        if int(number or 0) >= count:
            there = plural(count, "GPU") if count else "no GPU"
            raise UsageError(f"--device {name}: this host has {there} that torch can use")
        return name
    # Anything else that torch knows is tried out.
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return name


def loader_count(device: str, threads: int) -> int:
    """Loader processes of one training process, where the user says nothing."""
    # On a CPU the model needs every core, and small images decode fast; 16 feed a fast GPU without a cache of images.
    if device == "cpu":
        return 0
    return min(16, max(1, threads - 2))


def core_count() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count(cores: int, processes: int) -> int:
    """Threads of each process of a cell: its share of the cores, or what $OMP_NUM_THREADS says where that is less."""
    share = max(1, cores // processes)
    # The variable may have a number for each level of nesting.
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if asked.isdecimal() and int(asked) > 0:
        return min(share, int(asked))
    return share


def local_slots(device: str, gpus: str | None, processes: int, jobs: int | None, small: bool = False) -> list[Slot]:
    """How this host is divided among cells: one slot for each that runs at a time; those on a CPU name no GPU.

    Args:
        gpus: of `--gpus`: all, none, or a comma list of numbers; None: all where the device is a GPU.
        processes: of one cell, one GPU each; UsageError for GPUs that are not there, or fewer than these.
        jobs: cells at a time. More than the GPUs allow share them. None: one per share of GPUs; on a CPU one per core
            where the models are `small`, else 1.
        small: whether one core is enough for a cell.
    """
    chosen = choose_gpus(device, gpus)
    shares = []
    for first in range(0, len(chosen) - processes + 1, processes):
        shares.append(tuple(chosen[first : first + processes]))
    if chosen and not shares:
        raise UsageError(f"--processes {processes} needs as many GPUs, and has {len(chosen)} to use")

    # On a CPU, cells of small models run faster side by side on one thread each than one after the other on several.
    cores = core_count()
    count = jobs or len(shares)
    if not count:
        count = 1
        if small and pick_device(device) == "cpu":
            count = max(1, cores // processes)

    # More cells than shares of GPUs: they take turns in naming them.
    slots = []
    for index in range(count):
        share = shares[index % len(shares)] if shares else ()
        slots.append(Slot(share, max(1, cores // count), count))
    return slots


def choose_gpus(device: str, gpus: str | None) -> list[str]:
    """The GPUs that the command line asks for, by their names for CUDA_VISIBLE_DEVICES; none for another device.
    UsageError where `--device` and `--gpus` contradict each other, or a GPU is not there."""
    if device == "auto" and gpus == "none":
        device = "cpu"
    kind, _, number = pick_device(device).partition(":")

    # `--device cuda:1` alone means GPU 1; with --gpus, both must say the same.
    if gpus is None:
        gpus = (number or "all") if kind == "cuda" else "none"
    elif number and gpus != number:
        raise UsageError(f"--device {device} and --gpus {gpus} contradict each other; give one of them")
    if gpus == "none":
        if kind == "cuda":
            raise UsageError(f"--gpus none and --device {device} contradict each other; give one of them")
        return []

    count = torch.cuda.device_count()
    there = _gpus_there(count)
    if kind != "cuda":
        raise UsageError(f"--gpus {gpus}: " + (f"--device {device} is no GPU" if count else there))
    every = [str(index) for index in range(count)]
    wanted = every if gpus == "all" else split_list(gpus)
    if not wanted or any(index not in every for index in wanted):
        raise UsageError(f"--gpus {gpus}: write all, none, or numbers; {there}")

    # Numbers count among the GPUs that this process may see.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = split_list(visible) if visible else every
    return [names[int(index)] for index in dict.fromkeys(wanted)]


def _gpus_there(count: int) -> str:
    if count > 1:
        return f"this host has GPUs 0 to {count - 1}"
    return "this host has GPU 0" if count else "this host has no GPU"
