"""What of a results folder is handed to other tools, whatever their format: which cells, which scores, from when."""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from barbench.errors import DataError, UsageError
from barbench.metrics import METRICS, Columns, Metric
from barbench.metrics.generalized import ACCURACY_METRICS, PRESENT_METRICS
from barbench.paper.tables import dataset_title
from barbench.results.clustered import clustered_score
from barbench.results.expressions import of_split
from barbench.results.interval import Interval
from barbench.results.record import Record
from barbench.results.store import Store

OVER_PARTS: Final = frozenset({*ACCURACY_METRICS, *PRESENT_METRICS})
EVERY_EVAL_EVER: Final = "every_eval_ever"
EVAL_RESULTS: Final = "eval_results"
EXCHANGES: Final = (EVERY_EVAL_EVER, EVAL_RESULTS)
"""What `barbench export --format` calls the formats that have one file per cell."""


class ExchangedScore(NamedTuple):
    """One score of a cell.

    Attributes:
        key: of the split in the record.
        value: a fraction.
        n: expressions that it is over.
        interval: clustered by image; without ends where no counts are stored, and for some metrics.
    """

    key: str
    dataset: str
    title: str
    name: str
    value: float
    n: int
    interval: Interval

    @property
    def split(self) -> str:
        """Its own name: a key of a mixture has the data set before it."""
        return self.key.rpartition(" ")[2]

    @property
    def metric(self) -> Metric:
        """What the score is of."""
        return METRICS[self.name]


def exchanged_records(records: Sequence[Record], subsets: bool) -> list[Record]:
    """The finished cells of whole evaluation splits, and those of subsets of images if these are wanted; UsageError if
    none is left."""
    kept = []
    for record in records:
        whole = record.cell.subset is None
        if record.status == "done" and not record.cell.held_out and (whole or subsets):
            kept.append(record)
    if not kept:
        raise UsageError("no finished cell of a whole data set to export; --subset exports cells of subsets too")
    return kept


def exchanged_scores(store: Store, record: Record) -> list[ExchangedScore]:
    """The scores that other tools know how to read: shares between 0 and 1 of all expressions of a split."""
    found = []
    for key in record.split_names():
        split = record.splits[key]
        columns: Columns | None = None
        with suppress(DataError):
            columns = of_split(store, record, key)
        dataset = record.dataset_of(key)
        for name, value in split.scores.values.items():
            metric = METRICS.get(name)
            # Of gRefCOCO, some are over parts of its expressions.
            if metric is None or metric.detail or metric.unit != "%" or name in OVER_PARTS:
                continue
            found.append(
                ExchangedScore(
                    key=key,
                    dataset=dataset,
                    title=f"{dataset_title(dataset)} {split.column}",
                    name=name,
                    value=value,
                    n=split.scores.n,
                    interval=_interval(metric, columns, value),
                )
            )
    return found


def _interval(metric: Metric, columns: Columns | None, value: float) -> Interval:
    if columns is None or metric.terms is None or not metric.applies(columns):
        return Interval(value)
    return clustered_score(metric, [columns]).by_image.interval


def finished_at(store: Store, record: Record) -> int:
    """The Unix time of a record: its own, or in old ones that of its file."""
    if record.finished is not None:
        return record.finished
    return int(store.path(record.cell).stat().st_mtime)


def as_name(text: str) -> str:
    """A text as part of a name that repositories and file systems take."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip(".-")
