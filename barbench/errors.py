"""Errors meant for people: what was wrong, where, and what would be right. The CLI prints them without a traceback."""

import difflib
from collections.abc import Iterable

MAX_MESSAGE = 4_000


def printable(text: str) -> str:
    """`text` with characters that are not for printing as escapes; line feeds stay.

    >>> printable("a\\x1b[2J")
    'a\\\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class BarbenchError(Exception):
    """Base of every error that barbench explains itself; `exit_code` is what the process ends with.

    A message may quote a file that somebody else wrote: what would move a terminal's cursor, or cannot be encoded, is
    spelled out, and a message without end is cut.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(printable(message[:MAX_MESSAGE]) + "…" * (len(message) > MAX_MESSAGE))


class UsageError(BarbenchError):
    """The command or its arguments are wrong."""

    exit_code = 2


class Interrupted(BarbenchError):
    """A person stopped it (Ctrl-C), or the system did: `number` is the signal, and the exit code 128 more."""

    def __init__(self, message: str, number: int = 2) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class DataError(BarbenchError):
    """A data file exists but cannot be used; the message names it."""


class MissingData(UsageError):
    """A data root lacks a file that the layout needs."""


class UnknownName(UsageError):
    """A name that no registry entry has; the message gives the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = (
            f"Did you mean {', '.join(near)}?"
            if near
            else f"Known: {', '.join(names[:12])}{', …' * (len(names) > 12)}."
        )
        super().__init__(f"unknown {kind} {name!r}. {hint}")
