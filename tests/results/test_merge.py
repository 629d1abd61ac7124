"""Two records of one cell are the same run as far as both of them hold what was counted."""

from pathlib import Path

import pytest

from barbench.errors import UsageError
from barbench.results.merge import merge
from barbench.results.record import Record
from barbench.results.store import Store
from tests.results.conftest import Put


def later(record: Record) -> Record:
    """The same run, recorded by a later version: more groups in the ledger, more metrics."""
    splits = {}
    for name, split in record.splits.items():
        scores = split.scores.model_copy(update={"all70": 0.25})
        splits[name] = split.model_copy(update={"scores": scores})
    return record.model_copy(update={"ledger": record.ledger | {"own": 1}, "splits": splits})


def copy(store: Store, record: Record, folder: Path) -> Path:
    Store(folder).save(record, store.expressions(record.cell))
    return folder


def test_an_older_record_of_the_same_run_is_no_conflict(store: Store, put: Put, tmp_path: Path) -> None:
    record = put("etris")
    newer = copy(store, later(record), tmp_path / "newer")
    assert merge([newer], store.folder).same == [record.cell.stem()]


def test_another_count_or_score_is_one(store: Store, put: Put, tmp_path: Path) -> None:
    record = put("etris")
    counted = record.model_copy(update={"ledger": {"adapter": 2}})
    one_split = record.model_copy(update={"splits": {"val": record.splits["val"]}})
    scores = record.splits["val"].scores.model_copy(update={"miou": 0.75})
    scored = record.model_copy(
        update={"splits": record.splits | {"val": record.splits["val"].model_copy(update={"scores": scores})}}
    )
    for number, other in enumerate((counted, one_split, scored)):
        folder = copy(store, other, tmp_path / str(number))
        with pytest.raises(UsageError, match="1 cell differs"):
            merge([folder], store.folder)
