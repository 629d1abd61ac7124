"""Files that are there whole or not at all, and files that are of no use: renamed, never overwritten or deleted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """Write into a file that takes the name `path` when the block ends: a reader, or a crash, sees the old file or the
    whole new one. Nothing changes where the block raises. The folder is made if need be.

    sync=False, for what can be made again: many times faster, but when the power fails the file may be left short.
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
    """`atomic_file` for content that is at hand."""
    with atomic_file(path) as file:
        file.write(content)


def sweep(folder: Path) -> None:
    """Remove what killed processes left of `atomic_file` in `folder`; to be called where nobody else writes there."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def set_aside(*paths: Path) -> list[Path]:
    """Rename files that belong together to the first `<name>.corrupt-<n>` that is free for all of them.

    Those that do not exist are passed over; returns what each is, or would be, called. Raises OSError.
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
