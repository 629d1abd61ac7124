"""Writes the tables of a results folder as one file, for other programs: `barbench export --format csv`."""

import importlib.util
import io
from pathlib import Path
from typing import Final

import pandas as pd

from barbench.errors import UnknownName, UsageError
from barbench.files import write_atomically

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
        raise UnknownName("format", format_, EXPORTS)
    if format_ == "csv":
        write_atomically(path, table.to_csv(index=False, lineterminator="\n").encode())
        return
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError("parquet needs pyarrow: pip install 'barbench[parquet]', or take --format csv")
    content = io.BytesIO()
    table.to_parquet(content, engine="pyarrow", index=False)
    write_atomically(path, content.getvalue())
