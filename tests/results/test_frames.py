"""The data frame of a results folder: one row a (record, split), every documented column."""

from pathlib import Path

import pandas as pd
import pytest

from barbench.metrics import summarize_columns
from barbench.results.expressions import of_split
from barbench.results.frames import COLUMNS, load
from barbench.results.record import Cell, DataIdentity, Profile, Record, Scores, SplitResult
from barbench.results.store import Store
from tests.results.conftest import Put


def record(method: str, **fields: object) -> Record:
    cell = Cell(
        method=method,
        backbone="tiny",
        weights="pretrained",
        dataset="refcocog-u",
        recipe={"name": "demo"},
        seed=3,
        data=DataIdentity(kind="shapes", fingerprint="f00d"),
    )
    base = {"id": cell.id(), "cell": cell, "title": method.upper(), "composition": ("SNF", "LIM"), "status": "done"}
    return Record.model_validate(base | {"ledger": {"adapter": 7, "head": 5}} | fields)


def scores(miou: float) -> Scores:
    return Scores(miou=miou, oiou=0.5, p50=0.5, p60=0.4, p70=0.3, p80=0.2, p90=0.1, n=8)


def test_load(tmp_path: Path) -> None:
    store = Store(tmp_path)
    splits = {
        "val": SplitResult(scores=scores(1 / 3), control=scores(0.1), column="val(u)", images=2, references=4),
        "test": SplitResult(scores=scores(0.25), column="test(u)", images=3, references=5),
    }
    profile = Profile(
        flops_forward=10,
        saved_bytes=20,
        saved_bytes_batch=8,
        peak_memory_bytes=30,
        peak_memory_kind="process RSS",
        train_images_per_s=1.5,
        infer_images_per_s=2.5,
        batch=4,
        device="cpu",
    )
    store.save(record("a", splits=splits, profile=profile))
    store.save(record("b", status="failed", reason="killed"))
    frame = load(str(tmp_path))
    assert tuple(frame.columns) == COLUMNS
    assert list(zip(frame["method"], frame["column"].fillna("-"), frame["status"], strict=True)) == [
        ("a", "test(u)", "done"),
        ("a", "val(u)", "done"),
        ("b", "-", "failed"),
    ]
    val = frame[frame["column"] == "val(u)"].iloc[0]
    expected = {
        "miou": 1 / 3,
        "control_miou": 0.1,
        "n": 8,
        "adapter": 7,
        "seed": 3,
        "components": "SNF+LIM",
        "batch": 4,
    }
    assert {name: val[name] for name in expected} == expected
    assert pd.isna(frame.iloc[0]["control_miou"])
    assert frame.iloc[2]["reason"] == "killed"


def test_load_of_nothing(tmp_path: Path) -> None:
    assert tuple(load(tmp_path).columns) == COLUMNS
    assert load(tmp_path).empty


def test_every_field_of_a_cell_is_a_column(tmp_path: Path) -> None:
    Store(tmp_path).save(record("a", status="failed", reason="killed"))
    frame = load(tmp_path)
    for name in Cell.model_fields:
        found = any(column == name or column.startswith(f"{name}.") for column in frame.columns)
        assert found or name in ("options", "scaled")


def test_what_made_a_record_is_there(tmp_path: Path) -> None:
    made = {"environment": {"code": "c0de", "own_code": "beef", "threads": 4}, "tuning_budget": "8 trials"}
    Store(tmp_path).save(record("a", status="failed", reason="killed", **made))
    row = load(tmp_path).iloc[0]
    assert (row["code"], row["own_code"], row["threads"], row["tuning_budget"]) == ("c0de", "beef", 4, "8 trials")


def test_what_cannot_be_read_is_named_in_a_warning(tmp_path: Path) -> None:
    path = Store(tmp_path).save(record("a", status="failed", reason="killed"))
    path.write_text("{")
    with pytest.warns(UserWarning, match=f"{path.name} cannot be read .*; it was left as it is"):
        assert load(tmp_path).empty
    assert path.read_text() == "{"


def test_scores_that_an_old_record_lacks_come_from_its_counts(store: Store, put: Put) -> None:
    saved = put("etris")
    frame = load(store.folder).set_index("split")
    columns = of_split(store, saved, "val")
    expected = summarize_columns(columns)
    assert "all70" not in saved.splits["val"].scores.values
    assert frame.loc["val", "all70"] == expected["all70"]
    assert frame.loc["val", "icc"] == expected["icc"]
    assert frame.loc["val", "miou"] == saved.splits["val"].scores["miou"], "what is recorded stays"
    store.arrays(saved.cell).unlink()
    assert load(store.folder)["all70"].isna().all()


def test_every_column_has_a_name_of_its_own() -> None:
    assert len(set(COLUMNS)) == len(COLUMNS)
