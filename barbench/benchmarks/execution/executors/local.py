"""Cells as processes of this host, several at a time, each on its share of the GPUs and cores."""

import queue
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar

from barbench.benchmarks.execution.attempt import Attempt, StopRequest, perform
from barbench.benchmarks.execution.executors.base import CellEvent, Executor, Placement
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.outcome import Ended
from barbench.benchmarks.execution.run_folder import RunFolder
from barbench.spec.cluster import Cluster


class Local(Executor):
    """Executor of this host, with one thread per slot."""

    name: ClassVar[str] = "local"
    settles_on_host: ClassVar[bool] = False
    default_retries: ClassVar[int] = 0  # a cell that is lost on this host should be looked at
    detaches: ClassVar[bool] = False

    def __init__(self, slots: Sequence[Slot] = ()) -> None:
        slots = slots or [Slot()]
        self.slots = len(slots)
        self._free: queue.Queue[Slot] = queue.Queue()
        for slot in slots:
            self._free.put(slot)
        # An unexpected error of a thread is an event, too: `poll` raises it.
        self._events: queue.Queue[CellEvent | BaseException] = queue.Queue()
        self._pool = ThreadPoolExecutor(len(slots))
        self._threads: dict[Future[None], Attempt] = {}
        self._request = StopRequest()
        self._lock = -1

    @classmethod
    def make(cls, placement: Placement, cluster: Cluster, gpus: int, cells_at_once: int | None) -> "Local":
        """One with the slots of this host."""
        return cls(placement.slots)

    def start(self, run: RunFolder, lock: int) -> None:
        """All workers inherit `lock`."""
        self._lock = lock

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Each begins as soon as a slot is free."""
        for attempt in attempts:
            self._threads[self._pool.submit(self._run, attempt)] = attempt

    def poll(self, seconds: float) -> list[CellEvent]:
        """Raises the unexpected error of an attempt's thread."""
        found: list[CellEvent] = []
        try:
            found.append(self._checked(self._events.get(timeout=seconds)))
            while True:
                found.append(self._checked(self._events.get_nowait()))
        except queue.Empty:
            return found

    def alive(self) -> set[str]:
        """Those whose threads have not ended."""
        return {attempt.cell for thread, attempt in self._threads.items() if not thread.done()}

    def stop(self) -> None:
        """Those that have not begun never will."""
        self._request.stop.set()
        for thread, attempt in self._threads.items():
            if thread.cancel():
                self._events.put((attempt.cell, Ended("stopped", "it had not begun", attempt.number)))

    def close(self) -> None:
        """Kill what still runs."""
        self._request.kill.set()
        self._request.stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, attempt: Attempt) -> None:
        slot = self._free.get()
        cell = attempt.cell
        try:
            ended = perform(attempt, self._request, lambda event: self._events.put((cell, event)), slot, self._lock)
            self._events.put((cell, ended))
        except BaseException as error:
            self._events.put(error)
        finally:
            self._free.put(slot)

    @staticmethod
    def _checked(event: CellEvent | BaseException) -> CellEvent:
        if isinstance(event, BaseException):
            raise event
        return event


EXECUTOR: type[Executor] = Local
