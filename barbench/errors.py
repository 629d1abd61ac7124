"""Errors for the user: what was wrong, where, and what would be right. The CLI prints them without a traceback."""

import difflib
from collections.abc import Iterable

MAX_MESSAGE = 4_000


def printable(text: str) -> str:
    """Escape characters that are not printable; line feeds stay.

    >>> printable("a\\x1b[2J")
    'a\\\\x1b[2J'

    Args:
        text: any text.

    Returns:
        Text that cannot move a terminal's cursor and can be encoded.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class BarbenchError(Exception):
    """Base of every error that barbench explains itself.

    A message may quote a file that somebody else wrote: what would move a terminal's cursor, or cannot be encoded, is
    escaped, and a very long message is cut.

    Args:
        message: what was wrong, and what would be right.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(printable(message[:MAX_MESSAGE]) + "…" * (len(message) > MAX_MESSAGE))


class UsageError(BarbenchError):
    """The command or its arguments are wrong; the exit code is 2."""

    exit_code = 2


class UnfitBackbone(UsageError):
    """A method cannot be used on a backbone."""


class Interrupted(BarbenchError):
    """A run was stopped, by a person (Ctrl-C) or by the system; the exit code is 128 more than the signal's number.

    Args:
        message: what was stopped, and what is left.
        number: of the signal; 2 is SIGINT.
    """

    def __init__(self, message: str, number: int = 2) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class DataError(BarbenchError):
    """A data file exists but cannot be used; the message names it."""


class MissingData(UsageError):
    """A data root lacks a file that the layout needs."""


class UnknownName(UsageError):
    """A name that is not registered; the message gives the nearest names.

    Args:
        kind: what the name should be, in the singular.
        name: as the user wrote it.
        known: the registered names.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = (
            f"Did you mean {', '.join(near)}?"
            if near
            else f"Known: {', '.join(names[:12])}{', …' * (len(names) > 12)}."
        )
        super().__init__(f"unknown {kind} {name!r}. {hint}")
