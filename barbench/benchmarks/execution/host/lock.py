"""One run to a results folder, on this host and on others.

On one host a file lock is held as long as the run or one of its workers lives. Other hosts may not see that lock (some
network file systems keep it local, some have none), so the run also keeps a lease: a marker file that it touches
regularly. The lease ends when the marker is no longer touched.
"""

import contextlib
import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from filelock import SoftFileLease, Timeout

from barbench.errors import UsageError
from barbench.files import is_alive

ORPHAN_SECONDS = 10.0
"""That the worker of a killed run may take to end."""
LEASE_SECONDS: Final = 60.0
"""After which the lease of a run that does not touch its marker ends."""
BEAT_SECONDS = 15.0
_NO_LOCKS: Final = (errno.ENOSYS, errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP)
"""Errors of file systems without flock."""


@contextmanager
def locked(results: Path) -> Iterator[int]:
    """Hold a results folder, which is made if it does not exist; yields the lock's descriptor, for workers to inherit.

    Raises:
        UsageError: where another run holds it, naming its process, or where the folder cannot be written to.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        # Workers inherit a copy of the descriptor, so that the lock ends with the last of them.
        with (results / ".lock").open("a+") as file:
            is_mine = _take(file, results)
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            held = os.dup(file.fileno())
        lease = lease_on(results / ".lease")
        _wait_for(lease, results, is_mine)
    except OSError as error:
        raise UsageError(f"cannot write to the results folder {results}: {error.strerror}") from None
    try:
        yield held
    finally:
        lease.release()
        os.close(held)


def lease_on(path: Path, on_loss: Callable[[object], None] = lambda _: None) -> SoftFileLease:
    """A lease that any thread may release; two objects of one path exclude each other.

    Args:
        on_loss: called in another thread once another process took it, which happens to a holder that was suspended.
    """
    return SoftFileLease(
        path,
        lease_duration=LEASE_SECONDS,
        heartbeat_interval=BEAT_SECONDS,
        thread_local=False,
        timeout=0,
        on_compromise=on_loss,
    )


def _take(file: TextIO, results: Path) -> bool:
    """Take the file lock; False where the file system has none."""
    limit = time.monotonic() + ORPHAN_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            holder = _holder(file)
            if (holder is not None and is_alive(holder)) or time.monotonic() > limit:
                raise _busy(f"process {holder or 'unknown'}", results) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False  # the lease alone excludes others
        time.sleep(0.1)  # its run is dead: a worker that is about to end still holds the lock


def _wait_for(lease: SoftFileLease, results: Path, has_lock: bool) -> None:
    """Take the lease. That of a run that died ends where its marker is not touched for LEASE_SECONDS.

    Args:
        has_lock: whether this process has the file lock, so that no other run of this host is there, whatever process
            has the number in the marker now.
    """
    marker = results / ".lease"
    first_touch = None
    while True:
        try:
            lease.acquire()
            return
        except Timeout:
            # The marker may vanish while it is read: its holder has let it go.
            with contextlib.suppress(OSError):
                holder = _fields(marker)
                touched = marker.stat().st_mtime_ns
                who = f"process {holder.get('pid')} on {holder.get('host')}"
                is_here = holder.get("host") == socket.gethostname()
                # A holder on this host is alive as long as it has the file lock.
                if is_here and not has_lock:
                    raise _busy(who, results) from None
                if is_here and _age(marker, results) > LEASE_SECONDS:
                    marker.unlink()
                    continue
                # Elsewhere it cannot be asked: it lives if it touches its marker.
                if first_touch is None:
                    wait = f"{results} was in use by {who}; unless that lives, it is free in {LEASE_SECONDS:.0f} s"
                    print(wait, file=sys.stderr, flush=True)
                elif touched != first_touch:
                    raise _busy(who, results) from None
                first_touch = touched
        time.sleep(1.0)


def _age(marker: Path, results: Path) -> float:
    """Seconds since the marker was touched, by the clock of the file system: this process has just written the lock."""
    return (results / ".lock").stat().st_mtime - marker.stat().st_mtime


def _fields(marker: Path) -> dict[str, str]:
    """The `name=value` lines of a lease's marker."""
    fields = {}
    for line in marker.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals:
            fields[name] = value
    return fields


def _busy(who: str, results: Path) -> UsageError:
    return UsageError(f"another barbench run ({who}) is using {results}; wait for it, or give --results FOLDER")


def _holder(file: TextIO) -> int | None:
    file.seek(0)
    text = file.read(20).strip()
    return int(text) if text.isdecimal() else None
