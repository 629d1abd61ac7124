"""Cells as processes of this host, several at a time, each on its share of the GPUs and cores."""

import os
import queue
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import torch

from barbench.benchmarks.execution.attempt import Wish, perform
from barbench.benchmarks.execution.executors.base import Attempt, Ended, Slot, Told
from barbench.benchmarks.execution.host.devices import core_count, pick_device
from barbench.benchmarks.execution.run_folder import RunFolder
from barbench.errors import UsageError
from barbench.spec.text import split_list


class Local:
    """Executor of this host."""

    name: Final = "local"

    def __init__(self, slots: Sequence[Slot] = ()) -> None:
        slots = slots or [Slot()]
        self.slots: Final = len(slots)
        self._free: queue.Queue[Slot] = queue.Queue()
        for slot in slots:
            self._free.put(slot)
        self._told: queue.Queue[Told | BaseException] = queue.Queue()
        self._pool = ThreadPoolExecutor(len(slots))
        self._threads: dict[Future[None], Attempt] = {}
        self._wish = Wish()
        self._lock = -1

    def start(self, run: RunFolder, lock: int) -> None:
        """All workers inherit `lock`."""
        self._lock = lock

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Each begins as soon as a slot is free."""
        for attempt in attempts:
            self._threads[self._pool.submit(self._run, attempt)] = attempt

    def adopt(self) -> dict[str, int]:
        """None: the cells of this host end with the process that began them."""
        return {}

    def poll(self, seconds: float) -> list[Told]:
        """Raises what a thread of an attempt could not foresee."""
        found: list[Told] = []
        try:
            found.append(self._known(self._told.get(timeout=seconds)))
            while True:
                found.append(self._known(self._told.get_nowait()))
        except queue.Empty:
            return found

    def alive(self) -> set[str]:
        """Those whose threads have not ended."""
        return {attempt.cell for thread, attempt in self._threads.items() if not thread.done()}

    def stop(self) -> None:
        """Those that have not begun never will."""
        self._wish.stop.set()
        for thread, attempt in self._threads.items():
            if thread.cancel():
                self._told.put((attempt.cell, Ended("stopped", "it was not begun", attempt.number)))

    def close(self) -> None:
        """Kill what is left."""
        self._wish.kill.set()
        self._wish.stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, attempt: Attempt) -> None:
        slot = self._free.get()
        try:
            tell = attempt.cell
            ended = perform(attempt, self._wish, lambda event: self._told.put((tell, event)), slot, self._lock)
            self._told.put((tell, ended))
        except BaseException as error:
            self._told.put(error)
        finally:
            self._free.put(slot)

    @staticmethod
    def _known(told: Told | BaseException) -> Told:
        if isinstance(told, BaseException):
            raise told
        return told


def local_slots(device: str, gpus: str | None, processes: int, jobs: int | None, small: bool = False) -> list[Slot]:
    """How this host is divided among cells.

    Args:
        device: of `--device`.
        gpus: of `--gpus`: all, none, or a comma list of numbers; None: all where the device is a GPU.
        processes: of one cell, one GPU each.
        jobs: cells at a time. More than the GPUs allow share them. None: one a share of GPUs; on a CPU one a core
            where the models are `small`, else 1.
        small: whether one core does for a cell.

    Returns:
        One slot for each cell that runs at a time; those on a CPU name no GPU.

    Raises:
        UsageError: for GPUs that are not there, or fewer than the processes of a cell.
    """
    chosen = choose_gpus(device, gpus)
    shares = [tuple(chosen[i : i + processes]) for i in range(0, len(chosen) - processes + 1, processes)]
    if chosen and not shares:
        raise UsageError(f"--processes {processes} needs as many GPUs, and has {len(chosen)} to use")
    cores = core_count()
    count = jobs or len(shares) or (max(1, cores // processes) if small and pick_device(device) == "cpu" else 1)
    return [Slot(shares[i % len(shares)] if shares else (), max(1, cores // count), count) for i in range(count)]


def choose_gpus(device: str, gpus: str | None) -> list[str]:
    """The GPUs that the command line asks for.

    Args:
        device: of `--device`.
        gpus: of `--gpus`: all, none, or a comma list of numbers; None: all where the device is a GPU.

    Returns:
        Them as CUDA_VISIBLE_DEVICES names them; none for another device.

    Raises:
        UsageError: where the two contradict each other, or a GPU is not there.
    """
    kind, _, number = pick_device("cpu" if device == "auto" and gpus == "none" else device).partition(":")
    if gpus is None:
        gpus = (number or "all") if kind == "cuda" else "none"
    elif number and gpus != number:
        raise UsageError(f"--device {device} and --gpus {gpus} contradict each other; give one of them")
    if gpus == "none":
        if kind == "cuda":
            raise UsageError(f"--gpus none and --device {device} contradict each other; give one of them")
        return []
    count = torch.cuda.device_count()
    there = f"this host has {f'GPUs 0 to {count - 1}' if count > 1 else 'GPU 0' if count else 'no GPU'}"
    if kind != "cuda":
        raise UsageError(f"--gpus {gpus}: " + (there if not count else f"--device {device} is no GPU"))
    wanted = list(map(str, range(count))) if gpus == "all" else split_list(gpus)
    if not wanted or not all(w.isdecimal() and int(w) < count for w in wanted):
        raise UsageError(f"--gpus {gpus}: write all, none, or numbers; {there}")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = split_list(visible) if visible else list(map(str, range(count)))
    return [names[int(w)] for w in dict.fromkeys(wanted)]
