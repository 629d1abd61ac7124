"""Atomic writing, temporary names that tell whose they are, and setting corrupt files aside under a new name."""

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from barbench.errors import UsageError

DAY: Final = 86_400.0
MAX_NAME: Final = 255
"""Bytes of a file's name, on nearly every file system."""


@functools.cache
def host_id() -> str:
    """Eight hex digits that stand for this host: a hash of the machine's id, its name, and its namespace of processes.

    Containers of one host have different ones: each numbers its processes by itself, so that a process's number says
    who it is within one of them only.
    """
    parts = [platform.node()]
    for source in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        with contextlib.suppress(OSError):
            parts.append(Path(source).read_text())
            break
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def own_mark() -> str:
    """A part of a temporary name that no other process and no other call has: `<host>-<process>-<random>`."""
    return f"{host_id()}-{os.getpid()}-{secrets.token_hex(4)}"


def is_left_behind(path: Path) -> bool:
    """Whether a killed process left this file or folder, which has an `own_mark` in its name.

    Of other hosts' processes, which cannot be asked, True once nothing was written for a day.
    """
    mark = re.search(r"([0-9a-f]{8})-(\d+)-[0-9a-f]{8}", path.name)
    if mark and mark[1] == host_id():
        return not is_alive(int(mark[2]))
    with contextlib.suppress(OSError):
        return time.time() - path.lstat().st_mtime > DAY
    return False


def at_home(path: str | Path) -> Path:
    """Replace a leading ~ by the home folder; UsageError where a user has none, as in containers."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"{path}: there is no home folder here; write the whole path") from None


def is_alive(process: int) -> bool:
    """Whether a process of this host lives, another user's included."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


@contextmanager
def atomic_file(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the name `path` when the block ends.

    A reader, or a crash, finds either the old file or the complete new one. If the block raises, nothing changes. The
    folder is created if needed.

    Args:
        sync: False, for what can be made again: many times faster, but the file may be incomplete after a power
            failure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target: a name cannot be taken across file systems.
    temporary = path.with_name(_temporary_name(path.name))
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_name(name: str) -> str:
    """A hidden name with an `own_mark`; of a long name only the beginning, since names have at most 255 bytes."""
    end = f".{own_mark()}.tmp"
    kept = name.encode()[: MAX_NAME - len(end) - 1].decode(errors="ignore")
    return f".{kept}{end}"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file with `atomic_file`."""
    with atomic_file(path) as file:
        file.write(content)


def sweep(folder: Path) -> None:
    """Remove temporary files of `atomic_file` that killed processes left in a folder; those of living ones stay."""
    for path in folder.glob(".*.tmp"):
        if is_left_behind(path):
            path.unlink(missing_ok=True)


def set_aside(*paths: Path, why: str = "corrupt") -> list[Path]:
    """Rename files that belong together, to the first `<name>.<why>-<n>` that is free for all of them.

    Files that do not exist are skipped; the new name of each is returned, whether or not it exists.
    """
    n = 1
    while any(_aside(path, why, n).exists() for path in paths):
        n += 1
    for path in paths:
        if path.exists():
            path.rename(_aside(path, why, n))
    return [_aside(path, why, n) for path in paths]


def _aside(path: Path, why: str, n: int) -> Path:
    return path.with_name(f"{path.name}.{why}-{n}")
