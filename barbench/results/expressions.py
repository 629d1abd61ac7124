"""The counts of each expression, as saved beside the records: of one split, for several cells that scored the same
ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from barbench.errors import DataError, UsageError
from barbench.metrics import METRICS, Rivals, defined_scores, identity_columns
from barbench.results.record import Record
from barbench.results.store import MASKS, Store

Columns = dict[str, NDArray[Any]]


def join_splits(by_split: Mapping[str, Mapping[str, NDArray[Any]]]) -> Columns:
    """The arrays of all splits of a record, (expressions,) each, under the names that they are saved with,
    `<split>/<field>`."""
    joined: Columns = {}
    for split, columns in by_split.items():
        for field, array in columns.items():
            joined[f"{split}/{field}"] = array
    return joined


def join_rivals(by_split: Mapping[str, Rivals]) -> Columns:
    """The long tables of all splits under the names that they are saved with, `rivals/<split>/<field>`; whole numbers
    have 32 bits where they fit.

    An earlier version, which takes all arrays of a split to have a row per expression, does not meet these.
    """
    joined: Columns = {}
    for split, table in by_split.items():
        for field, array in table.items():
            narrow = array.astype(np.int32)
            joined[f"rivals/{split}/{field}"] = narrow if np.array_equal(narrow, array) else array
    return joined


def join_masks(by_split: Mapping[str, Mapping[str, NDArray[Any]]]) -> Columns:
    """The predicted masks of all splits under the names that the store puts into a file of their own,
    `masks/<split>/<field>`."""
    return {f"{MASKS}{name}": array for name, array in join_splits(by_split).items()}


def masks_of(arrays: Mapping[str, NDArray[Any]], split: str) -> Columns:
    """The inverse of `join_masks` for one split; empty where none are stored."""
    return stored_columns(arrays, f"{MASKS}{split}")


def rivals_of(arrays: Mapping[str, NDArray[Any]], split: str) -> Rivals:
    """The inverse of `join_rivals` for one split; empty where the record has no such table."""
    return {field: array.astype(np.int64) for field, array in stored_columns(arrays, f"rivals/{split}").items()}


def stored_columns(arrays: Mapping[str, NDArray[Any]], split: str) -> Columns:
    """The inverse of `join_splits` for one split: its arrays by field; empty if there are none."""
    prefix = f"{split}/"
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def pick_split(arrays: Mapping[str, NDArray[Any]], split: str) -> Columns:
    """The columns of one split: its arrays by field, and what follows from the table of rivals; empty if there are
    none."""
    columns = stored_columns(arrays, split)
    rivals = rivals_of(arrays, split)
    if columns and rivals:
        columns |= identity_columns(columns, rivals)
    return columns


def of_split(store: Store, record: Record, split: str) -> Columns:
    """The saved arrays of one split of a finished record by field, (expressions,) each; DataError if there are none."""
    columns = pick_split(store.expressions(record.cell), split)
    if not columns:
        raise DataError(f"{store.path(record.cell).with_suffix('.npz')} lacks the expressions of {split}")
    return columns


def later_scores(store: Store, record: Record, split: str) -> dict[str, float]:
    """The scores of a split that its record is too old to hold, by metric, from the saved arrays; empty where nothing
    is missing, and where there are no arrays that could be read."""
    held = record.splits[split].scores.values
    has_detail = any(metric.detail and name in held for name, metric in METRICS.items())
    if has_detail or not store.arrays(record.cell).exists():
        return {}
    try:
        columns = of_split(store, record, split)
    except DataError:
        return {}
    return {name: score for name, score in defined_scores(columns).items() if name not in held}


def same_expressions(tables: Sequence[Mapping[str, NDArray[Any]]]) -> bool:
    """Whether row i of each table is the same sentence about the same object of the same image."""
    for table in tables:
        for column in ("sent_id", "image_id", "ann_id"):
            if not np.array_equal(table[column], tables[0][column]):
                return False
    return True


def aligned(store: Store, records: Sequence[Record], split: str) -> list[Columns]:
    """The arrays of one split by field, for each of several cells; row i is the same expression in all. UsageError if
    the cells scored different expressions, DataError if arrays are missing or damaged."""
    tables = [of_split(store, record, split) for record in records]
    for record, table in zip(records, tables, strict=True):
        if not same_expressions([tables[0], table]):
            names = f"{records[0].cell.stem()} and {record.cell.stem()}"
            raise UsageError(f"{names} cannot be compared: they scored different expressions on {split}")
    return tables
