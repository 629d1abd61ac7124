"""The table of expressions, and tables as files that other programs read back."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from barbench.errors import UnknownName, UsageError
from barbench.results.export import write_table
from barbench.results.frames import COLUMNS, EXPRESSION_COLUMNS, load, load_expressions
from barbench.results.store import Store
from tests.results.cells import expressions
from tests.results.conftest import Put


def test_every_expression_has_a_row(store: Store, put: Put) -> None:
    put("etris", seed=3)
    put("snf", status="failed")
    table = load_expressions(store.folder)
    assert tuple(table.columns) == EXPRESSION_COLUMNS
    assert table.groupby("split").size().to_dict() == {"val": 36, "testA": 36}
    val, expected = table[table["split"] == "val"], expressions(3)
    for name in ("sent_id", "image_id", "intersection", "union", "area"):
        assert val[name].tolist() == expected[name].tolist()
    assert val["iou"].to_numpy() == pytest.approx(expected["intersection"] / expected["union"])
    assert set(val["kind"]) == {"bare", "attribute"}
    assert set(val["method"]) == {"etris"}
    without = expected["control_union"] < 0
    assert val["control_union"].isna().tolist() == without.tolist()
    assert np.isnan(val["control_iou"].to_numpy()).tolist() == without.tolist()
    assert set(val["control_iou"].dropna()) == {0.01}


def test_how_many_objects_are_meant_is_kept(store: Store, put: Put) -> None:
    record = put("etris")
    arrays = dict(store.expressions(record.cell))
    assert set(load_expressions(store.folder)["targets"]) == {1}
    for split in record.splits:
        arrays[f"{split}/targets"] = np.arange(36) % 3
    store.save(record, arrays)
    assert load_expressions(store.folder)["targets"].tolist() == [*(np.arange(36) % 3)] * 2


def test_older_records_lack_the_kind(store: Store, put: Put) -> None:
    record = put("etris")
    arrays = {n: c for n, c in store.expressions(record.cell).items() if not n.endswith("/kind")}
    store.save(record.model_copy(update={"kinds": ()}), arrays)
    assert load_expressions(store.folder)["kind"].isna().all()


def test_nothing_to_load(store: Store, put: Put) -> None:
    assert tuple(load_expressions(store.folder).columns) == EXPRESSION_COLUMNS
    store.path(put("etris").cell).with_suffix(".npz").unlink()
    assert load_expressions(store.folder).empty


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_files_hold_the_table(format_: str, store: Store, put: Put, tmp_path: Path) -> None:
    put("etris")
    put("snf", status="failed")
    for table in (load(store.folder), load_expressions(store.folder)):
        path = tmp_path / f"table.{format_}"
        write_table(table, format_, path)
        back = pd.read_csv(path) if format_ == "csv" else pd.read_parquet(path)
        pd.testing.assert_frame_equal(back.convert_dtypes(), table.convert_dtypes(), check_dtype=False)
    assert list(load(store.folder).columns) == [*COLUMNS, "recipe.epochs"]


def test_parquet_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'barbench\[parquet\]'"):
        write_table(pd.DataFrame({"a": [1]}), "parquet", tmp_path / "x.parquet")
    with pytest.raises(UnknownName, match="unknown format 'xlsx'"):
        write_table(pd.DataFrame({"a": [1]}), "xlsx", tmp_path / "x.xlsx")


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_cells_of_a_sweep_are_told_apart(format_: str, store: Store, put: Put, tmp_path: Path) -> None:
    """Rates, options of several types, and lists: each is a column of the file."""
    put("etris", options={"bridge.width": 64})
    put("etris", options={"bridge.width": "half", "bridge.stages": [1, 2]})
    put("etris", recipe={"name": "demo", "lr": 1e-3, "milestones": [3]}, processes=2, context_length=30)
    path = tmp_path / f"table.{format_}"
    write_table(load(store.folder), format_, path)
    back = pd.read_csv(path) if format_ == "csv" else pd.read_parquet(path)
    rows = back[back["split"] == "val"].astype(object).fillna("").astype(str)
    found = set(zip(rows["options.bridge.width"], rows["options.bridge.stages"], rows["recipe.lr"], strict=True))
    assert found == {("64", "", ""), ('"half"', "[1, 2]", ""), ("", "", "0.001")}
    assert sorted(rows["recipe.milestones"]) == ["", "", "[3]"]
    assert set(rows["processes"]) == {"1", "2"}


def test_expressions_have_the_fields_in_which_cells_differ(store: Store, put: Put) -> None:
    put("etris", options={"bridge.width": 64})
    put("etris", options={"bridge.width": 128})
    table = load_expressions(store.folder)
    assert tuple(table.columns) == (*EXPRESSION_COLUMNS, "options.bridge.width")
    assert table.groupby("options.bridge.width").size().to_dict() == {64: 72, 128: 72}
