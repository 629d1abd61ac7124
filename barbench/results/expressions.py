"""Each expression's counts as saved beside the records: of one split, for several cells that scored the same ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from barbench.errors import DataError, UsageError
from barbench.results.record import Record
from barbench.results.store import Store

Columns = dict[str, NDArray[Any]]


def of_split(store: Store, record: Record, split: str) -> Columns:
    """The columns of `split`, (expressions,) each, by name; raises DataError where there are none."""
    prefix = f"{split}/"
    columns = {n.removeprefix(prefix): c for n, c in store.expressions(record.cell).items() if n.startswith(prefix)}
    if not columns:
        raise DataError(f"{store.path(record.cell).with_suffix('.npz')} lacks the expressions of {split}")
    return columns


def aligned(store: Store, records: Sequence[Record], split: str) -> list[Columns]:
    """The columns of `split` of each record; raises UsageError where they did not score the same expressions."""
    tables = [of_split(store, record, split) for record in records]
    for record, table in zip(records, tables, strict=True):
        for column in ("sent_id", "image_id", "ann_id"):
            if not np.array_equal(table[column], tables[0][column]):
                names = f"{records[0].cell.stem()} and {record.cell.stem()}"
                raise UsageError(f"{names} cannot be compared: they scored different expressions on {split}")
    return tables


def iou(columns: Columns) -> NDArray[np.float64]:
    """IoU of each expression, (n,); 0 where both masks are empty, as in `engine.metrics`."""
    return np.asarray(columns["intersection"] / np.maximum(columns["union"], 1))
