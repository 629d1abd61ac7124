"""Records on disk: one JSON file per cell in the results folder, with the arrays of its expressions beside it as npz.

`barbench run` saves records and skips cells by them. The JSON is written last and atomically, so a file that exists is
complete. Reading leaves the folder as it is and keeps a list of what cannot be read; only whoever writes the record of
a cell next sets a damaged one aside, under another name, so that nothing is overwritten.
"""

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from barbench.errors import DataError, UsageError
from barbench.files import set_aside, write_atomically
from barbench.results.record import READABLE_VERSIONS, SCHEMA_VERSION, Cell, Record
from barbench.spec.text import explain, plural

Arrays = Mapping[str, NDArray[Any]]


MASKS: Final = "masks/"
"""What the names of arrays begin with that are kept in a file of their own."""
_RECORD: Final = re.compile(r".+--seed\d+--[0-9a-f]{12}\.json")
"""The names of records; a later version may store other JSON files beside them."""
_SHOWN: Final = 3
_DAMAGED: Final = (ValueError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading arrays raises where their file is not whole."""


class Unreadable(NamedTuple):
    """A file that is named like a record and cannot be read as one, and why; `newer`: a newer barbench wrote it, so
    that it is sound."""

    path: Path
    reason: str
    newer: bool = False

    def __str__(self) -> str:
        return f"{self.path} cannot be read ({self.reason}); it was left as it is"


class SetAside(NamedTuple):
    """A file that was not a record, and why, whose place a cell needed: where it was, and its new path."""

    path: Path
    renamed: Path
    reason: str


class _Newer(ValueError):
    """A record has the schema of a newer barbench."""


class Store:
    """The records of one results folder. Only files named like a cell's stem are read.

    Args:
        folder: it need not exist yet.

    Attributes:
        set_aside: what `load_to_write` renamed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.set_aside: list[SetAside] = []
        self._unreadable: dict[Path, Unreadable] = {}

    @property
    def unreadable(self) -> list[Unreadable]:
        """What was read so far and is no record, each file once."""
        return list(self._unreadable.values())

    def notes(self) -> list[str]:
        """A line for each of the first files that cannot be read, and one for the rest."""
        lines = [str(found) for found in self.unreadable[:_SHOWN]]
        rest = len(self._unreadable) - _SHOWN
        if rest > 0:
            lines.append(f"{plural(rest, 'more file')} of {self.folder} cannot be read")
        return lines

    def path(self, cell: Cell) -> Path:
        """Where the record of `cell` is, or would be."""
        return self.folder / f"{cell.stem()}.json"

    def arrays(self, cell: Cell) -> Path:
        """Where the arrays of its expressions are, or would be."""
        return self.path(cell).with_suffix(".npz")

    def masks(self, cell: Cell) -> Path:
        """Where the predicted masks are, if they were to be kept."""
        return self.path(cell).with_suffix(".masks.npz")

    def scratch(self, cell: Cell) -> Path:
        """The cell's own folder: its checkpoint while it runs, its tuned weights when it is done."""
        return self.folder / "cells" / cell.stem()

    def tuned(self, cell: Cell) -> Path:
        """Where the weights that training changed are stored, once the cell is done."""
        return self.scratch(cell) / "tuned.safetensors"

    def save(self, record: Record, expressions: Arrays | None = None) -> Path:
        """Save a record and the arrays of its expressions.

        Args:
            record: the cell's outcome.
            expressions: arrays named `<split>/<field>`, (expressions,) each; None removes those of an earlier record.
                Those whose names begin with MASKS go to `masks`.

        Returns:
            The path of the record.

        Raises:
            ValueError: for NaN, infinity or arrays of Python objects, before anything is written.
        """
        # Everything is turned into bytes first: what cannot be stored is refused before a file changes.
        packed = None
        masks = None
        if expressions is not None:
            packed = pack({name: array for name, array in expressions.items() if not name.startswith(MASKS)})
            drawn = {name: array for name, array in expressions.items() if name.startswith(MASKS)}
            masks = pack(drawn) if drawn else None
        tuned = _read_if_there(self.tuned(record.cell)) if record.status == "done" else None
        files = {}
        for name, content in (("expressions", packed), ("masks", masks), ("tuned", tuned)):
            if content is not None:
                files[name] = hashlib.sha256(content).hexdigest()
        written = as_stored(record.model_copy(update={"files": files}))
        # The record comes last: where it is, its arrays are.
        for beside, content in ((self.arrays(record.cell), packed), (self.masks(record.cell), masks)):
            if content is None:
                beside.unlink(missing_ok=True)
            else:
                write_atomically(beside, content)
        path = self.path(record.cell)
        write_atomically(path, written)
        return path

    def load(self, cell: Cell) -> Record | None:
        """The record of `cell`; None if there is none that can be read."""
        return self._read(self.path(cell))

    def load_to_write(self, cell: Cell) -> Record | None:
        """The record of `cell`, for whoever writes it next where there is none.

        A damaged one, or one with damaged arrays, is set aside first.

        Args:
            cell: whose record is asked for.

        Returns:
            The record; None if there is none, or none any more.

        Raises:
            UsageError: for a record of a newer barbench, which is not replaced.
            DataError: for a file that cannot be opened or renamed.
        """
        path = self.path(cell)
        # A record whose arrays are damaged is as good as none.
        record = self._read(path)
        if record is not None:
            fault = self._fault_of_arrays(record)
            if not fault:
                return record
            self._unreadable[path] = Unreadable(path, fault)
        if path not in self._unreadable:
            return None
        # A damaged file makes room; one of a newer version is sound.
        found = self._unreadable.pop(path)
        if found.newer:
            raise UsageError(f"{path} cannot be replaced: {found.reason}. Or give another folder with --results")
        self._set_aside(found)
        return None

    def put_aside(self, cell: Cell) -> None:
        """Keep the record of `cell`, its arrays and its weights as `<name>.before-<n>`, so that the cell runs again."""
        path = self.path(cell)
        if path.exists():
            set_aside(self.arrays(cell), self.masks(cell), self.tuned(cell), path, why="before")

    def all(self) -> list[Record]:
        """Every record of the folder, in the order of the file names."""
        records = []
        for path in sorted(self.folder.glob("*--seed*--*.json")):
            record = self._read(path) if _RECORD.fullmatch(path.name) else None
            if record is not None:
                records.append(record)
        return records

    def expressions(self, cell: Cell) -> dict[str, NDArray[Any]]:
        """The arrays saved with a record.

        Args:
            cell: of the record.

        Returns:
            Arrays by their saved names.

        Raises:
            DataError: if there are none, or if they are damaged.
        """
        return self._saved(cell, self.arrays(cell), "expressions", "its expressions")

    def predicted_masks(self, cell: Cell) -> dict[str, NDArray[Any]]:
        """The masks saved with a record, as `expressions` reads the arrays; DataError if there are none."""
        return self._saved(cell, self.masks(cell), "masks", "predicted masks (`barbench run --keep-masks`)")

    def _saved(self, cell: Cell, path: Path, name: str, what: str) -> dict[str, NDArray[Any]]:
        try:
            content = path.read_bytes()
            self._check(self._read(self.path(cell)), name, content)
            return unpack(content)
        except FileNotFoundError:
            raise DataError(f"{path} does not exist: this record was saved without {what}") from None
        except OSError as error:
            raise DataError(f"{path} cannot be opened: {error.strerror}") from error
        except _DAMAGED as error:
            raise DataError(f"{path} is damaged ({error}): run the cell again") from error

    def tuned_weights(self, cell: Cell) -> bytes:
        """Read the weights that training changed.

        Args:
            cell: a finished one.

        Returns:
            The content of its file.

        Raises:
            DataError: if the file is not there, or is not the one that the record was saved with.
        """
        path = self.tuned(cell)
        content = _read_if_there(path)
        if content is None:
            raise DataError(f"{path} does not exist: without its tuned weights {cell.stem()} must be trained again")
        try:
            self._check(self._read(self.path(cell)), "tuned", content)
        except ValueError as error:
            raise DataError(f"{path} cannot be used: {error}") from None
        return content

    def tuned_digest(self, cell: Cell) -> str:
        """SHA-256 of the weights that training changed; DataError as for `tuned_weights`."""
        return hashlib.sha256(self.tuned_weights(cell)).hexdigest()

    @staticmethod
    def _check(record: Record | None, name: str, content: bytes) -> None:
        """Raises ValueError where a file is of another attempt at the cell than the record."""
        if record is None or name not in record.files:
            return
        if record.files[name] != hashlib.sha256(content).hexdigest():
            raise ValueError("it is not the file that the record was saved with")

    def _fault_of_arrays(self, record: Record) -> str:
        """What is wrong with the arrays of a record's expressions; empty if nothing is, or if there are none."""
        path = self.arrays(record.cell)
        try:
            content = path.read_bytes()
            self._check(record, "expressions", content)
            if "expressions" not in record.files:
                unpack(content)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise DataError(f"{path} cannot be opened: {error.strerror}") from error
        except _DAMAGED as error:
            return f"{path.name} is damaged: {error}"
        return ""

    def _read(self, path: Path) -> Record | None:
        """The record in a file; None if there is none, or none that can be read."""
        # What is wrong with a file is kept, and said by `notes`.
        try:
            # The version first: what a newer one added is no fault of the file.
            fields = json.loads(path.read_text("utf-8"), parse_constant=_refuse_constant)
            _check_version(fields.get("schema_version") if isinstance(fields, dict) else None)
            record = Record.read(fields)
            if path.stem != record.cell.stem():
                raise ValueError(f"holds the record of {record.cell.stem()}")
        except FileNotFoundError:
            return None
        except ValidationError as error:
            self._unreadable[path] = Unreadable(path, explain(error, "record"))
            return None
        except _Newer as error:
            self._unreadable[path] = Unreadable(path, str(error), newer=True)
            return None
        except (ValueError, RecursionError, OSError) as error:  # not UTF-8, not JSON, another schema, not to be opened
            self._unreadable[path] = Unreadable(path, str(error))
            return None
        self._unreadable.pop(path, None)
        return record

    def _set_aside(self, found: Unreadable) -> None:
        """Rename a record and its arrays to the first free `<name>.corrupt-<n>`."""
        path = found.path
        try:
            path.read_bytes()
            _, moved = set_aside(path.with_suffix(".npz"), path)
        except OSError as error:
            raise DataError(f"{path} cannot be used ({found.reason}) and cannot be set aside: {error}") from error
        self.set_aside.append(SetAside(path, moved, found.reason))


def _check_version(version: object) -> None:
    """Raises ValueError for a schema that this barbench does not read."""
    if type(version) is int and version in READABLE_VERSIONS:
        return
    readable = " and ".join(map(str, READABLE_VERSIONS))
    if type(version) is int and version > SCHEMA_VERSION:
        raise _Newer(f"schema version {version} is of a newer barbench; this one reads {readable}: update it")
    raise ValueError(f"schema version {version!r}; this barbench reads {readable}")


def _read_if_there(path: Path) -> bytes | None:
    """The content of a file; None where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def as_stored(record: BaseModel) -> bytes:
    """The content of a record's file.

    Args:
        record: of a cell, or of an evaluation.

    Returns:
        JSON with sorted keys.

    Raises:
        ValueError: for NaN or infinity.
    """
    fields = record.model_dump(mode="json")
    return (json.dumps(fields, allow_nan=False, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode()


def unpack(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def pack(arrays: Arrays) -> bytes:
    """The content of a compressed npz file.

    Args:
        arrays: by name.

    Returns:
        Its bytes.

    Raises:
        ValueError: for arrays of Python objects.
    """
    objects = [name for name, array in arrays.items() if array.dtype.hasobject]
    if objects:
        raise ValueError(f"arrays of Python objects cannot be stored safely: {', '.join(objects)}")
    packed = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(packed, **named)
    return packed.getvalue()


def _refuse_constant(name: str) -> NoReturn:
    """Called for NaN and infinity, which JSON does not have but Python reads."""
    raise ValueError(f"{name} is not a number that a record may hold")
