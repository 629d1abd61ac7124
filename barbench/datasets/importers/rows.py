"""Reads the rows of a table: CSV, TSV, a JSON list, or JSON lines. Used by `barbench.datasets.importers.table`."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from barbench.datasets.importers.honest import file_refusal, read_head
from barbench.datasets.importers.mdetr import json_lines
from barbench.errors import DataError
from barbench.values import shown

Row = dict[str, Any]

TABLE_FILES = ("*.csv", "*.tsv", "*.json", "*.jsonl")
COLUMNS = ("image", "expression", "mask", "polygon", "value", "object", "split", "category")
NEEDED = ("image", "expression")
MAX_FIELD = 2**28  # characters of a field: a mask's run lengths, written out, can have some hundred thousand
BOM = b"\xef\xbb\xbf"


class NoTable(DataError):
    """A file that is none, with the reason; for a source whose form is looked for, too."""


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Each row with its number as an editor shows it; columns without a value are left out. NoTable if the file has no
    columns `image` and `expression`, DataError if a row, whose number is named, cannot be read."""
    if reason := file_refusal(path):
        raise NoTable(f"{path} is {reason}")
    rows = _delimited_rows(path) if path.suffix.lower() in (".csv", ".tsv") else _json_rows(path)
    try:
        for number, row in rows:
            yield number, {key: value for key, value in row.items() if not is_absent(value)}
    except UnicodeDecodeError as error:
        raise DataError(_encoding_fault(path, error)) from error
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise DataError(f"{path} is not a table that can be read: {error}") from error


def is_absent(value: Any) -> bool:
    """Whether a field says nothing: empty, null, or the NaN of a gap."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _delimited_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a CSV or TSV file, each with as many fields as the header."""
    csv.field_size_limit(MAX_FIELD)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header: list[str] | None = None
        number = 1
        try:
            for fields in reader:
                number = reader.line_num
                if not fields:
                    continue
                # The header.
                if header is None:
                    header = [name.strip() for name in fields]
                    _refuse_twice(header)
                    _check_columns(path, header)
                    continue
                # A row may be shorter; one that is longer has a separator without quotes around it.
                if len(fields) > len(header):
                    raise ValueError(
                        f"row {number} has {len(fields)} fields and the header {len(header)}: a field with "
                        f"{'a tab' if delimiter != ',' else 'a comma'} in it, such as an expression, needs "
                        'double quotes around it ("…")'
                    )
                yield number, dict(zip(header, fields, strict=False))
        except csv.Error as error:
            raise ValueError(
                f"row {reader.line_num}: {error}. A field that begins with a double quote ends with one, and quotes "
                "inside of it are doubled"
            ) from error


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The entries of a JSON list, or of JSON lines."""
    head = read_head(path).removeprefix(BOM).lstrip()
    entries = json.loads(path.read_bytes()) if head[:1] == b"[" else json_lines(path)
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise ValueError(f"row {number} is {shown(entry)}, not an object with keys")
        if number == 1:
            _check_columns(path, list(entry))
        yield number, entry


def _refuse_twice(header: list[str]) -> None:
    for name in header:
        if name and header.count(name) > 1:
            raise ValueError(f"the column {name!r} is there twice")


def _check_columns(path: Path, columns: list[str]) -> None:
    """NoTable where columns are absent; DataError where one is a known one but for its spelling."""
    found = ", ".join(columns) or "none"
    # One column means another separator.
    if len(columns) == 1 and not set(columns) & set(COLUMNS):
        for other, named in ((";", "a semicolon"), ("\t", "a tab"), ("|", "a bar"), (",", "a comma")):
            if other in columns[0]:
                expected = "a comma (.csv) or a tab (.tsv)"
                raise NoTable(f"{path} has one column, {found}: {named} seems to part its fields; expected {expected}")
    # A known name in capitals, or in the plural.
    for name in columns:
        plain = name.strip().lower()
        for known in COLUMNS:
            if plain in (known, f"{known}s") and known not in columns:
                raise NoTable(f"{path} has the column {name!r}; a table calls it {known!r} (its columns: {found})")
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise NoTable(f"{path} has the columns {found}; a table needs {' and '.join(NEEDED)}")


def _encoding_fault(path: Path, error: UnicodeDecodeError) -> str:
    """Which row is not UTF-8, and what the file may be."""
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return f'{path} is UTF-16, as Excel\'s "Unicode text" is: save it as UTF-8'
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as fault:
            byte = f"0x{line[fault.start]:02x}"
            return (
                f"{path}, row {number} is not UTF-8 (the byte {byte}; older Windows programs write cp1252): save it as "
                "UTF-8"
            )
    return f"{path} is not UTF-8: {error}"
