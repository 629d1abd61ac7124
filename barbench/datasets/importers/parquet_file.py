"""Opens Parquet files, which need pyarrow, and reads their rows."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from barbench.errors import DataError, UsageError

_ROWS = 64  # read at a time: rows can hold an image each


def open_parquet(path: Path) -> Any:
    """A `pyarrow.parquet.ParquetFile`, which is closed as a context; DataError for a file that is not Parquet,
    UsageError where pyarrow is not installed."""
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError("Parquet files need pyarrow: pip install 'barbench[parquet]'") from None
    try:
        return parquet.ParquetFile(path)
    except Exception as error:  # pyarrow has a dozen of its own
        raise DataError(f"{path} is not a Parquet file that can be read: {error}") from error


def rows_of(file: Any) -> Iterator[dict[str, Any]]:
    """Every row of an opened file, by column."""
    for batch in file.iter_batches(_ROWS):
        yield from batch.to_pylist()
