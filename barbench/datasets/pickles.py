"""Reads the Python 2 pickles of the public release without executing anything in them. Used by `datasets.refer`."""

import contextlib
import io
import pickle
import unicodedata
from pathlib import Path
from typing import Any, NoReturn

from barbench.datasets.untrusted import MAX_CHARACTERS, bounded_memory
from barbench.errors import DataError

BLANKED = ("Cc", "Cs", "Zl", "Zp")  # Unicode's kinds of control character, lone surrogate, line separator


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, dicts, tuples, numbers and text; any class or function that the file names is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only plain lists and dicts are read")


def load_plain(path: Path) -> Any:
    """Load the plain value in a pickle. Byte strings of Python 2 are read as latin1 (see `repair_text`).

    Raises:
        DataError: if the file is truncated, corrupt, refers to code, or asks for far more memory than a file of its
            size can fill; the message names it.
    """
    try:
        with path.open("rb") as file, bounded_memory(path.stat().st_size):
            return _PlainUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a corrupt pickle raises nearly anything: EOFError, KeyError, struct.error, ...
        raise DataError(f"{path} is not a usable pickle: {str(error) or type(error).__name__}") from error


def loads_plain(data: bytes) -> Any:
    """Read a pickle's plain value from memory; ValueError where `load_plain` would refuse it."""
    try:
        with bounded_memory(len(data)):
            return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:
        raise ValueError(f"it is not a usable pickle: {str(error) or type(error).__name__}") from error


def repair_text(text: str) -> str:
    """Restore the text that its writer saw, on one line.

    A Python 2 `str` holds bytes, which the unpickler reads as latin1. If those bytes are valid UTF-8, they were UTF-8
    ("cafÃ©" is "café"); otherwise the text stays as read (true latin1, or a Python 2 `unicode`, which a pickle stores
    as such). Latin1 text that happens to be valid UTF-8 would be misread; it takes a pair such as "Ã©", which no
    language writes.

    Args:
        text: as unpickled; what follows after MAX_CHARACTERS is cut, since a tokeniser would take minutes for a word of
            a million characters and use no token of it.

    Returns:
        Text without outer blanks, with spaces for control characters, line separators and lone surrogates.
    """
    text = text[:MAX_CHARACTERS]
    if not text.isascii():
        with contextlib.suppress(UnicodeError):
            text = text.encode("latin1").decode("utf-8")
    if not text.isprintable():
        blanked = {character for character in text if unicodedata.category(character) in BLANKED}
        text = text.translate(dict.fromkeys(map(ord, blanked), " "))
    return text.strip()
