"""Records on disk: one JSON file per cell in the results folder, with the arrays of its expressions beside it as npz.

`barbench run` saves records and skips cells by them. The JSON is written last and atomically, so a file that exists is
complete; a file that cannot be read is set aside under another name, never overwritten, and the rest continues.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from barbench.errors import DataError
from barbench.files import set_aside, write_atomically
from barbench.results.record import READABLE_VERSIONS, Cell, Record
from barbench.spec.text import explain

Arrays = Mapping[str, NDArray[Any]]


class SetAside(NamedTuple):
    """A file that was not a record.

    Attributes:
        path: where it was.
        renamed: its new path.
        reason: what was wrong with it.
    """

    path: Path
    renamed: Path
    reason: str


class Store:
    """The records of one results folder. Only files named like a cell's stem are read.

    Args:
        folder: it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.set_aside: list[SetAside] = []

    def path(self, cell: Cell) -> Path:
        """Where the record of `cell` is, or would be."""
        return self.folder / f"{cell.stem()}.json"

    def arrays(self, cell: Cell) -> Path:
        """Where the arrays of its expressions are, or would be."""
        return self.path(cell).with_suffix(".npz")

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

        Returns:
            The path of the record.

        Raises:
            ValueError: for NaN, infinity or arrays of Python objects, before anything is written.
        """
        # Everything is turned into bytes first: what cannot be stored is refused before a file changes.
        packed = _pack(expressions) if expressions is not None else None
        tuned = _read_if_there(self.tuned(record.cell)) if record.status == "done" else None
        files = {}
        for name, content in (("expressions", packed), ("tuned", tuned)):
            if content is not None:
                files[name] = hashlib.sha256(content).hexdigest()
        fields = record.model_copy(update={"files": files}).model_dump(mode="json")
        text = json.dumps(fields, allow_nan=False, ensure_ascii=False, sort_keys=True, indent=1)
        # The record comes last: where it is, its arrays are.
        arrays = self.arrays(record.cell)
        if packed is None:
            arrays.unlink(missing_ok=True)
        else:
            write_atomically(arrays, packed)
        path = self.path(record.cell)
        write_atomically(path, text.encode() + b"\n")
        return path

    def load(self, cell: Cell) -> Record | None:
        """The record of `cell`; None if there is none that can be read."""
        return self._read(self.path(cell))

    def all(self) -> list[Record]:
        """Every record of the folder, in the order of the file names."""
        records = [self._read(path) for path in sorted(self.folder.glob("*--seed*--*.json"))]
        return [record for record in records if record is not None]

    def expressions(self, cell: Cell) -> dict[str, NDArray[Any]]:
        """The arrays saved with a record.

        Args:
            cell: of the record.

        Returns:
            Arrays by their saved names.

        Raises:
            DataError: if there are none, or if they are damaged; record and arrays are then set aside.
        """
        path = self.arrays(cell)
        try:
            content = path.read_bytes()
            self._check(cell, "expressions", content)
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return dict(arrays)
        except FileNotFoundError:
            raise DataError(f"{path} does not exist: this record was saved without its expressions") from None
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            moved = self._set_aside(self.path(cell), f"{path.name} is damaged ({error})")
            raise DataError(f"{path} is damaged; its record is now {moved.name}: run the cell again") from error

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
            self._check(cell, "tuned", content)
        except ValueError as error:
            raise DataError(f"{path} cannot be used: {error}") from None
        return content

    def _check(self, cell: Cell, name: str, content: bytes) -> None:
        """Raises ValueError where a file is of another attempt at the cell than the record."""
        record = self._read(self.path(cell))
        if record is None or name not in record.files:
            return
        if record.files[name] != hashlib.sha256(content).hexdigest():
            raise ValueError("it is not the file that the record was saved with")

    def _read(self, path: Path) -> Record | None:
        """The record in a file; None if there is none, or if it was set aside."""
        try:
            fields = json.loads(path.read_text("utf-8"), parse_constant=_refuse_constant)
            version = fields.get("schema_version") if isinstance(fields, dict) else None
            if type(version) is not int or version not in READABLE_VERSIONS:
                readable = " and ".join(map(str, READABLE_VERSIONS))
                raise ValueError(f"schema version {version!r}; this barbench reads {readable}")
            record = Record.model_validate(fields)
            if path.stem != record.cell.stem():
                raise ValueError(f"holds the record of {record.cell.stem()}")
        except FileNotFoundError:
            return None
        except ValidationError as error:
            self._set_aside(path, explain(error, "record"))
            return None
        except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, another schema
            self._set_aside(path, str(error))
            return None
        return record

    def _set_aside(self, path: Path, reason: str) -> Path:
        """Rename a record and its arrays to the first free `<name>.corrupt-<n>`; returns the record's new path."""
        try:
            _, moved = set_aside(path.with_suffix(".npz"), path)
        except OSError as error:
            raise DataError(f"{path} cannot be used ({reason}) and cannot be set aside: {error}") from error
        self.set_aside.append(SetAside(path, moved, reason))
        return moved


def _read_if_there(path: Path) -> bytes | None:
    """The content of a file; None where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _pack(arrays: Arrays) -> bytes:
    """The content of a compressed npz file."""
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
