"""Reads the Python-2 pickles of the public release without running anything in them. Used by `datasets.refer`."""

import contextlib
import pickle
import unicodedata
from pathlib import Path
from typing import Any, NoReturn

from barbench.datasets.untrusted import MAX_CHARACTERS, bounded_memory
from barbench.errors import DataError

BLANKED = ("Cc", "Cs", "Zl", "Zp")  # Unicode's kinds of control character, lone surrogate, line separator


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, dicts, tuples, numbers and text; any class or function named in the file is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only plain lists and dicts are read")


def load_plain(path: Path) -> Any:
    """The plain value in the pickle at `path`; Python-2 byte strings are read as latin1 (see `repair_text`).

    Raises DataError naming the file where it is truncated, corrupt, refers to code, or asks for far more memory than a
    file of its size can fill.
    """
    try:
        with path.open("rb") as file, bounded_memory(path):
            return _PlainUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a corrupt pickle raises nearly anything: EOFError, KeyError, struct.error, ...
        raise DataError(f"{path} is not a usable pickle: {error or type(error).__name__}") from error


def repair_text(text: str) -> str:
    """`text` as its writer saw it, on one line.

    A Python-2 `str` holds bytes, which the unpickler reads as latin1. Where those bytes are valid UTF-8 they were
    UTF-8 ("cafÃ©" is "café"); otherwise the text stays as read (real latin1, or a Python-2 `unicode`, which a pickle
    stores as such). Latin1 text that happens to be valid UTF-8 would be misread; it takes a pair such as "Ã©" that no
    language writes. Control characters, line separators and halves of surrogate pairs become spaces, outer blanks go;
    all else, non-ASCII included, stays. What follows after MAX_CHARACTERS is cut: a tokenizer would take minutes for a
    word of a million characters, of which no token could be used.
    """
    text = text[:MAX_CHARACTERS]
    if not text.isascii():
        with contextlib.suppress(UnicodeError):
            text = text.encode("latin1").decode("utf-8")
    if not text.isprintable():
        text = "".join(" " if unicodedata.category(c) in BLANKED else c for c in text)
    return text.strip()
