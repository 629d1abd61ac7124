"""What an unfinished evaluation has scored, in one file per process, so that one that is stopped is continued."""

import io
import time
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from barbench.datasets.pixels.masks import join_codes, split_codes
from barbench.engine.counting import Row
from barbench.files import write_atomically

_UNREADABLE = (OSError, ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile)
_COUNTS: Final = len(Row._fields) - 2
"""Of an expression, without its rivals and its mask."""


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
                # Of another cell, other weights or other code.
                if str(file["identity"]) != self.identity:
                    return Scored([], 0.0)
                rows = _unpacked(file["rows"], file["rivals"], split_codes(file["masks"], file["offsets"]))
                seconds = float(file["seconds"])
        except _UNREADABLE:
            return Scored([], 0.0)
        self.loaded = len(rows)
        return Scored(rows, seconds)

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
        counts = np.array([row[:_COUNTS] for row in rows], np.int64)
        codes, offsets = join_codes([row.mask for row in rows])
        # A row has any number of rivals: they are a table of their own.
        np.savez(
            packed,
            masks=codes,
            offsets=offsets,
            identity=np.array(self.identity),
            rows=counts,
            rivals=long_table(rows),
            seconds=np.array(seconds),
        )
        write_atomically(self.path, packed.getvalue())


def long_table(rows: Sequence[Row]) -> NDArray[np.int64]:
    """The rivals of rows, int64 (m, 3): place of the row, id of the annotation, intersection."""
    found = []
    for place, row in enumerate(rows):
        for ann_id, intersection in row.rivals:
            found.append((place, ann_id, intersection))
    return np.array(found, np.int64).reshape(-1, 3)


def _unpacked(counts: NDArray[np.int64], rivals: NDArray[np.int64], masks: Sequence[bytes]) -> list[Row]:
    """The inverse of what `save` writes; ValueError for arrays of another form."""
    by_place: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for place, ann_id, intersection in rivals.tolist():
        by_place[place].append((ann_id, intersection))
    rows = []
    for place, values in enumerate(counts.tolist()):
        if len(values) != _COUNTS:
            raise ValueError(f"{len(values)} counts, not {_COUNTS}")
        rows.append(Row._make((*values, tuple(by_place[place]), masks[place])))
    return rows
