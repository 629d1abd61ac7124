"""Writes the tables of a results folder as one file, for other programs: `barbench export --format csv`."""

import importlib.util
import io
import json
from pathlib import Path
from typing import Final

import pandas as pd

from barbench.errors import UnknownName, UsageError
from barbench.files import write_atomically
from barbench.results.exchange import EXCHANGES

EXPORTS: Final = ("csv", "parquet")


def write_table(table: pd.DataFrame, format_: str, path: Path) -> None:
    """Write a table, unrounded.

    Args:
        table: the rows.
        format_: one of EXPORTS.
        path: the file to write.

    Raises:
        UnknownName: for an unknown format.
        UsageError: if Parquet's library is not installed.
    """
    if format_ not in EXPORTS:
        raise UnknownName("format", format_, (*EXPORTS, *EXCHANGES))
    # Cells of several types are written as JSON, which every format has.
    table = table.apply(_writable)
    if format_ == "csv":
        write_atomically(path, table.to_csv(index=False, lineterminator="\n").encode())
        return
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError("parquet needs pyarrow: pip install 'barbench[parquet]', or take --format csv")
    content = io.BytesIO()
    table.to_parquet(content, engine="pyarrow", index=False)
    write_atomically(path, content.getvalue())


def _writable(column: pd.Series) -> pd.Series:
    """A column as one type that any file has: lists as JSON, and so all values where they are of several types."""
    if column.dtype != object:
        return column
    kinds = {type(value) for value in column.dropna()}
    if tuple in kinds or len(kinds) > 1:
        return column.map(_as_json, na_action="ignore")
    return column


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
