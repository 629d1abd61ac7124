"""Being asked to stop (Ctrl-C, SIGTERM, SIGHUP): the runner passes it on, the worker keeps its checkpoint and ends."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ASKING = (signal.SIGTERM, signal.SIGHUP)
TO_WORKERS = (signal.SIGTERM, signal.SIGUSR2)  # the second is what Slurm sends ahead of a time limit


class Stop:
    """A worker's ears. Within `at_steps` a signal is only noted, for `asked` to be looked at between steps; elsewhere
    there is nothing to save, and it raises KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self._noted = self._patient = False

    def listen(self) -> None:
        """The runner alone hears Ctrl-C: it says so here by SIGTERM."""
        listen(self._hear)

    def asked(self) -> bool:
        """Whether a signal came."""
        return self._noted

    @contextmanager
    def at_steps(self) -> Iterator[Callable[[], bool]]:
        """Within it a signal is only noted; gives `asked`."""
        self._patient = True
        try:
            yield self.asked
        finally:
            self._patient = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._noted = True
        if not self._patient:
            raise KeyboardInterrupt(number)


def listen(hear: Callable[[int, FrameType | None], None]) -> None:
    """Call `hear` for every signal that asks a worker to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in TO_WORKERS:
        signal.signal(number, hear)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP end a command as Ctrl-C does: KeyboardInterrupt with the signal's number. One that
    is ignored (`nohup`) stays ignored."""

    def raise_it(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before: dict[signal.Signals, Any] = {s: signal.getsignal(s) for s in _ASKING}
    heard = [s for s in _ASKING if before[s] is not signal.SIG_IGN]
    for s in heard:
        signal.signal(s, raise_it)
    try:
        yield
    finally:
        for s in heard:
            signal.signal(s, before[s])
