"""One run to a results folder: a lock that holds for as long as the run or a worker of it lives."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from barbench.errors import UsageError

ORPHAN_SECONDS = 10.0  # that a killed run's worker may take to end


@contextmanager
def locked(results: Path) -> Iterator[int]:
    """Hold `results`, made if need be; gives the lock's descriptor, for workers to inherit.

    Raises UsageError where another run holds it, naming its process, or where the folder cannot be written to.
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
    except OSError as error:
        raise UsageError(f"cannot write to the results folder {results}: {error.strerror}") from None
    try:
        yield held
    finally:
        os.close(held)


def _take(file: TextIO, results: Path) -> None:
    limit = time.monotonic() + ORPHAN_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = _holder(file)
            if _alive(holder) or time.monotonic() > limit:
                who = f"another barbench run (process {holder or 'unknown'}) is using {results}"
                raise UsageError(f"{who}; wait for it, or give --results FOLDER") from None
        time.sleep(0.1)  # its run is dead: what still holds the lock is a worker that is about to end


def _holder(file: TextIO) -> int | None:
    file.seek(0)
    text = file.read(20).strip()
    return int(text) if text.isdecimal() else None


def _alive(process: int | None) -> bool:
    try:
        os.kill(process or 0, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return process is not None
