"""Atomic writing, and setting corrupt files aside under a new name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the name `path` when the block ends.

    A reader, or a crash, finds either the old file or the complete new one. If the block raises, nothing changes. The
    folder is created if needed.

    Args:
        path: the final name.
        sync: False, for what can be made again: many times faster, but the file may be incomplete after a power
            failure.

    Yields:
        The temporary file, open for writing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file with `atomic_file`.

    Args:
        path: the final name.
        content: the whole file.
    """
    with atomic_file(path) as file:
        file.write(content)


def sweep(folder: Path) -> None:
    """Remove temporary files of `atomic_file` that killed processes left behind.

    Args:
        folder: to be called while nobody else writes there.
    """
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def set_aside(*paths: Path) -> list[Path]:
    """Rename files that belong together, to the first `<name>.corrupt-<n>` that is free for all of them.

    Args:
        *paths: the files; those that do not exist are skipped.

    Returns:
        The new name of each, whether or not it exists.

    Raises:
        OSError: if a file cannot be renamed.
    """
    n = 1
    while any(_aside(path, n).exists() for path in paths):
        n += 1
    for path in paths:
        if path.exists():
            path.rename(_aside(path, n))
    return [_aside(path, n) for path in paths]


def _aside(path: Path, n: int) -> Path:
    return path.with_name(f"{path.name}.corrupt-{n}")
