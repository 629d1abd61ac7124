"""The counts of each expression, as saved beside the records: of one split, for several cells that scored the same
ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from barbench.errors import DataError, UsageError
from barbench.results.record import Record
from barbench.results.store import Store

Columns = dict[str, NDArray[Any]]


def join_splits(by_split: Mapping[str, Mapping[str, NDArray[Any]]]) -> Columns:
    """The arrays of all splits of a record under the names that they are saved with, `<split>/<field>`.

    Args:
        by_split: for each split its arrays by field, (expressions,) each.

    Returns:
        The same arrays in one mapping.
    """
    joined: Columns = {}
    for split, columns in by_split.items():
        for field, array in columns.items():
            joined[f"{split}/{field}"] = array
    return joined


def pick_split(arrays: Mapping[str, NDArray[Any]], split: str) -> Columns:
    """The inverse of `join_splits` for one split: its arrays by field; empty if there are none."""
    prefix = f"{split}/"
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def of_split(store: Store, record: Record, split: str) -> Columns:
    """The saved arrays of one split of a finished record by field, (expressions,) each; DataError if there are none."""
    columns = pick_split(store.expressions(record.cell), split)
    if not columns:
        raise DataError(f"{store.path(record.cell).with_suffix('.npz')} lacks the expressions of {split}")
    return columns


def same_expressions(tables: Sequence[Mapping[str, NDArray[Any]]]) -> bool:
    """Whether row i of each table is the same sentence about the same object of the same image."""
    for table in tables:
        for column in ("sent_id", "image_id", "ann_id"):
            if not np.array_equal(table[column], tables[0][column]):
                return False
    return True


def aligned(store: Store, records: Sequence[Record], split: str) -> list[Columns]:
    """The arrays of one split for several cells.

    Args:
        store: the results folder that `records` are from.
        records: finished ones.
        split: one of their splits.

    Returns:
        Arrays by field, for each record; row i is the same expression in all.

    Raises:
        UsageError: if the cells scored different expressions.
        DataError: if arrays are missing or damaged.
    """
    tables = [of_split(store, record, split) for record in records]
    for record, table in zip(records, tables, strict=True):
        if not same_expressions([tables[0], table]):
            names = f"{records[0].cell.stem()} and {record.cell.stem()}"
            raise UsageError(f"{names} cannot be compared: they scored different expressions on {split}")
    return tables
