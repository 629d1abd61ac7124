"""Cells as processes of this host, several at a time, each on its share of the GPUs and cores."""

import queue
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar, Final

from barbench.benchmarks.execution.attempt import Wish, perform
from barbench.benchmarks.execution.executors.base import Attempt, Ended, State, Told
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.run_folder import RunFolder


class Local:
    """Executor of this host."""

    name: ClassVar[str] = "local"
    settles_on_host: ClassVar[bool] = False
    default_retries: ClassVar[int] = 0  # somebody should look at a cell that is lost on this host
    detaches: ClassVar[bool] = False

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
    def states(jobs: Sequence[str]) -> dict[str, State]:
        """None: the run's folder names no jobs."""
        return {}

    @staticmethod
    def cancel_waiting(jobs: Sequence[str]) -> None:
        """Nothing: there is no queue outside the command."""

    @staticmethod
    def _known(told: Told | BaseException) -> Told:
        if isinstance(told, BaseException):
            raise told
        return told
