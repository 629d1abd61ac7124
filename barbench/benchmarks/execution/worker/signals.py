"""How a worker ends early: the signals that ask it to stop, and what it announces when it leaves no record.

A worker needs this before torch, so it imports next to nothing.
"""

import errno
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Literal

ExitReason = Literal["stopped", "refused", "unwritable"]
"""`stopped`: it was asked to; the cell can resume. `refused`: this host cannot run the cell. `unwritable`: the results
folder cannot be written to, so no other cell could be kept either."""

EXIT_WITHOUT_RECORD: Final = 75
"""Exit code of a worker that announced its reason."""

CANNOT_WRITE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Error numbers of a file system on which nothing more can be written."""

_TO_COMMAND: Final = (signal.SIGTERM, signal.SIGHUP)
TO_WORKERS: Final = (signal.SIGTERM, signal.SIGUSR2)
"""Signals that ask a worker to stop; Slurm sends the second before a time limit."""

Handler = Callable[[int, FrameType | None], None]


def exit_event(how: ExitReason, reason: str = "") -> dict[str, str]:
    """Announce an exit without a record: an event, since a launcher of several processes hides exit codes."""
    return {"event": "exit", "how": how, "reason": reason}


class StopSignal:
    """Sets a flag during training, where `asked` is looked at between steps; elsewhere there is nothing to save, and it
    raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self._asked = False
        self._training = False

    def listen(self) -> None:
        """Install the handlers. Ctrl-C reaches the runner alone, which passes it on as SIGTERM."""
        listen(self._handle)

    def asked(self) -> bool:
        """Whether a signal came."""
        return self._asked

    @contextmanager
    def at_steps(self) -> Iterator[Callable[[], bool]]:
        """Within it a signal only sets the flag; gives `asked`."""
        self._training = True
        try:
            yield self.asked
        finally:
            self._training = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if not self._training:
            raise KeyboardInterrupt(number)


def listen(handler: Handler) -> None:
    """Call `handler` for every signal that asks a worker to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in TO_WORKERS:
        signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP end a command as Ctrl-C does: KeyboardInterrupt with the signal's number. One that
    is ignored (`nohup`) stays ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before: dict[signal.Signals, Any] = {}
    for number in _TO_COMMAND:
        # One that is ignored stays so, as `nohup` wants it.
        handler = signal.getsignal(number)
        if handler is not signal.SIG_IGN:
            before[number] = handler
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
