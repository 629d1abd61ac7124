"""Checked values from files that anybody may have written: whole numbers, text, sizes, and limits on all of them.

A reader that meets a value beyond a limit raises ValueError here, and DataError with the file's name further up, before
anything is allocated, rasterised or tokenised.
"""

import contextlib
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

MAX_PIXELS = 2**26  # of an image; COCO's largest has 2**18.6
MAX_OUTLINE = 10**6  # pixels along a segmentation's polygons; COCO's longest have some thousands
MAX_CHARACTERS = 2_000  # of an expression; the longest of G-Ref has some hundreds
MEMORY_PER_BYTE = 100  # that a pickle may take for each byte of its file, beside MEMORY_FREE
MEMORY_FREE = 2**30


def whole(value: Any) -> int:
    """Read an id or a length.

    Args:
        value: an int, a float without fraction, or a string of digits.

    Returns:
        An int within 64 bits.

    Raises:
        ValueError: for anything else, booleans included.
    """
    if type(value) is int and -(2**63) < value < 2**63:  # nearly all of half a million
        return value
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise ValueError(f"{shown(value)} is not a whole number")
    return value


def text(value: Any) -> str:
    """Read a string so that it can be encoded: each lone surrogate becomes a question mark.

    Args:
        value: a string.

    Returns:
        The string, valid as UTF-8.

    Raises:
        ValueError: for anything but a string.
    """
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text")
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def image_size(width: Any, height: Any) -> tuple[int, int]:
    """Read the size of an image that may be opened.

    Args:
        width: in pixels, as the file gives it.
        height: in pixels, as the file gives it.

    Returns:
        Width and height.

    Raises:
        ValueError: for less than 1x1 pixels, more than MAX_PIXELS, or no whole numbers.
    """
    w, h = whole(width), whole(height)
    if w < 1 or h < 1 or w * h > MAX_PIXELS:
        raise ValueError(f"an image of {w}x{h} pixels; at least 1x1 and at most {MAX_PIXELS:,} pixels are read")
    return w, h


def shown(value: Any) -> str:
    """A value for a message: a scalar as written (at most 80 characters), of anything else only its type, since a
    nested value's text has no limit."""
    return repr(value)[:80] if isinstance(value, int | float | str) else f"a {type(value).__name__}"


def read_entries(values: Any, kind: str, read: Callable[[dict[str, Any]], T]) -> list[T]:
    """Apply `read` to each entry of a list.

    Args:
        values: the list, as it was read from a file.
        kind: what its entries are, in the plural, for the error.
        read: raises ValueError for an entry that cannot be used.

    Returns:
        What `read` gave, in order.

    Raises:
        ValueError: if an entry cannot be used: which one (counted from 0), and why.
    """
    made: list[T] = []
    for number, entry in enumerate(listed(values)):
        try:
            made.append(read(entry))
        except ValueError as error:
            raise ValueError(f"entry {number} of its {kind}: {error}") from error
    return made


def read_key(entry: Any, key: str, read: Callable[[Any], T]) -> T:
    """Read one value of an entry; all values of entries are read so.

    Args:
        entry: a dict, as it was read from a file.
        key: of the value.
        read: raises ValueError for a value that cannot be used.

    Returns:
        What `read` gave.

    Raises:
        ValueError: if there is no such key, or the value cannot be used; the key is named.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{shown(entry)} is not an entry with the key {key!r}")
    if key not in entry:
        raise ValueError(f"it lacks the key {key!r}")
    try:
        return read(entry[key])
    except ValueError as error:
        raise ValueError(f"{key!r}: {error}") from error


def listed(value: Any) -> list[Any]:
    """Read a list.

    Args:
        value: a list or a tuple.

    Returns:
        A list.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} is not a list")
    return list(value)


@contextlib.contextmanager
def bounded_memory(size: int) -> Iterator[None]:
    """Limit what reading a file can allocate: beyond the limit the block raises MemoryError.

    A few bytes of a pickle can ask for gigabytes. The operating system enforces the limit (Linux only; elsewhere there
    is none), and it is lifted at the end of the block.

    Args:
        size: bytes of the file; the limit is MEMORY_FREE and MEMORY_PER_BYTE for each of them.

    Yields:
        Nothing.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    bound = used + MEMORY_FREE + MEMORY_PER_BYTE * size
    if soft != resource.RLIM_INFINITY:
        bound = min(bound, soft)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
