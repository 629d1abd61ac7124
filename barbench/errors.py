"""Errors for the user: what was wrong, where, and what would be right. The CLI prints them without a traceback."""

import difflib
from collections.abc import Iterable

MAX_MESSAGE = 4_000
MAX_NAMES = 12


def printable(text: str) -> str:
    """Escape what is not printable, which could move a terminal's cursor or not be encoded; line feeds stay.

    >>> printable("a\\x1b[2J")
    'a\\\\x1b[2J'
    """
    if text.isprintable():
        return text
    shown = ""
    for character in text:
        if character.isprintable() or character == "\n":
            shown += character
        else:
            shown += ascii(character)[1:-1]
    return shown


class BarbenchError(Exception):
    """Base of every error that barbench explains itself.

    A message may quote a file that somebody else wrote: what would move a terminal's cursor, or cannot be encoded, is
    escaped, and a very long message is cut.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        shown = printable(message[:MAX_MESSAGE])
        if len(message) > MAX_MESSAGE:
            shown += "…"
        super().__init__(shown)


class UsageError(BarbenchError):
    """The command or its arguments are wrong; the exit code is 2."""

    exit_code = 2


class UnfitBackbone(UsageError):
    """A method cannot be used on a backbone."""


class Interrupted(BarbenchError):
    """A run was stopped, by a person (Ctrl-C) or by the system; the exit code is 128 more than the signal's number."""

    def __init__(self, message: str, number: int = 2) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class DataError(BarbenchError):
    """A data file exists but cannot be used; the message names it."""


class MissingData(UsageError):
    """A data root lacks a file that the layout needs."""


class UnknownName(UsageError):
    """A name that is not registered as something of a `kind`, in the singular; the message gives the nearest names."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        if near:
            hint = f"Did you mean {', '.join(near)}?"
        else:
            more = ", …" if len(names) > MAX_NAMES else ""
            hint = f"Known: {', '.join(names[:MAX_NAMES])}{more}."
        super().__init__(f"unknown {kind} {name!r}. {hint}")
