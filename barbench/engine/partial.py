"""What an unfinished evaluation has scored, in one file per process, so that one that is stopped is continued."""

import io
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from barbench.files import write_atomically

Row = tuple[int, int, int, int, int]
"""An expression's index, then its four counts: intersection and union with its object, and with another one."""

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Scored(NamedTuple):
    """Rows of whole batches, and the seconds of their forward passes."""

    rows: list[Row]
    seconds: float


class PartialEvaluation:
    """One file for one process and one split.

    Args:
        path: of the file.
        identity: of the cell, its trained weights and the code: rows of another are never taken.
        seconds: between two writes.

    Attributes:
        loaded: number of expressions that were there.
    """

    def __init__(self, path: Path, identity: str, seconds: float) -> None:
        self.path = path
        self.identity = identity
        self.loaded = 0
        self._seconds = seconds
        self._written = time.monotonic()

    def load(self) -> Scored:
        """What is there; nothing where there is no readable file of this identity."""
        try:
            with np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False) as file:
                if str(file["identity"]) != self.identity:
                    return Scored([], 0.0)
                rows = file["rows"].astype(np.int64)
                seconds = float(file["seconds"])
        except _UNREADABLE:
            return Scored([], 0.0)
        if rows.ndim != 2 or rows.shape[1] != 5:
            return Scored([], 0.0)
        self.loaded = len(rows)
        return Scored([(row[0], row[1], row[2], row[3], row[4]) for row in rows.tolist()], seconds)

    def offer(self, rows: Sequence[Row], seconds: float) -> None:
        """Write the rows so far if the last write is long enough ago."""
        if time.monotonic() - self._written >= self._seconds:
            self.save(rows, seconds)

    def save(self, rows: Sequence[Row], seconds: float) -> None:
        """Write the rows so far."""
        self._written = time.monotonic()
        if not rows:
            return
        packed = io.BytesIO()
        np.savez(packed, identity=np.array(self.identity), rows=np.array(rows, np.int64), seconds=np.array(seconds))
        write_atomically(self.path, packed.getvalue())
