"""One run to a results folder, on this host and on others.

On one host a file lock holds for as long as the run or a worker of it lives. Other hosts may not see that lock (some
network file systems keep it to themselves, some have none), so that the run also keeps a lease: a marker file that it
touches now and then. Where the marker is not touched any longer, the lease ends.
"""

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from filelock import SoftFileLease, Timeout

from barbench.errors import UsageError
from barbench.files import is_alive

ORPHAN_SECONDS = 10.0  # that a killed run's worker may take to end
LEASE_SECONDS, BEAT_SECONDS = 60.0, 15.0
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP)  # what file systems without flock say


@contextmanager
def locked(results: Path) -> Iterator[int]:
    """Hold a results folder, made if need be.

    Args:
        results: the folder.

    Yields:
        The lock's descriptor, for workers to inherit.

    Raises:
        UsageError: where another run holds it, naming its process, or where the folder cannot be written to.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        with (results / ".lock").open("a+") as file:
            _take(file, results)
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            held = os.dup(file.fileno())
        lease = lease_on(results / ".lease")
        _wait_for(lease, results)
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
        path: of its marker.
        on_loss: called in another thread once somebody else took it, which happens to a holder that was frozen.

    Returns:
        The lease, not taken yet.
    """
    return SoftFileLease(
        path,
        lease_duration=LEASE_SECONDS,
        heartbeat_interval=BEAT_SECONDS,
        thread_local=False,
        timeout=0,
        on_compromise=on_loss,
    )


def _take(file: TextIO, results: Path) -> None:
    limit = time.monotonic() + ORPHAN_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = _holder(file)
            if (holder is not None and is_alive(holder)) or time.monotonic() > limit:
                raise _busy(f"process {holder or 'unknown'}", results) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return  # the lease alone says who is here
        time.sleep(0.1)  # its run is dead: what still holds the lock is a worker that is about to end


def _wait_for(lease: SoftFileLease, results: Path) -> None:
    """Take the lease. Of a run on another host that died silently it ends where nobody touches it for LEASE_SECONDS."""
    seen = None
    while True:
        try:
            lease.acquire()
            return
        except Timeout:
            with contextlib.suppress(OSError):
                marker = results / ".lease"
                fields = dict(line.split("=", 1) for line in marker.read_text().splitlines() if "=" in line)
                touched = marker.stat().st_mtime_ns
                if fields.get("host") == socket.gethostname() or (seen is not None and touched != seen):
                    who = f"process {fields.get('pid')} on {fields.get('host')}"
                    raise _busy(who, results) from None
                seen = touched
        time.sleep(1.0)


def _busy(who: str, results: Path) -> UsageError:
    return UsageError(f"another barbench run ({who}) is using {results}; wait for it, or give --results FOLDER")


def _holder(file: TextIO) -> int | None:
    file.seek(0)
    text = file.read(20).strip()
    return int(text) if text.isdecimal() else None
