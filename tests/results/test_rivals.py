"""The long table of rivals and the predicted masks beside the columns of a record: saved, read, copied, and met by what
knows nothing of them."""

from pathlib import Path

import numpy as np
import pytest

from barbench.errors import DataError
from barbench.metrics import METRICS, identity_columns
from barbench.results.expressions import join_masks, join_rivals, join_splits, masks_of, of_split, pick_split, rivals_of
from barbench.results.frames import load, load_expressions
from barbench.results.merge import merge
from barbench.results.store import Store
from tests.results.cells import expressions, put_cell


def with_rivals(seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The columns of a split, and two rivals of each second expression; one of a number beyond 32 bits."""
    columns = expressions(seed)
    n = len(columns["union"])
    rng = np.random.default_rng(seed)
    columns["category_id"] = rng.integers(1, 3, n)
    row = np.repeat(np.arange(0, n, 2), 2)
    rivals = {
        "row": row,
        "ann_id": rng.integers(100, 2**40, len(row)),
        "category_id": rng.integers(1, 3, len(row)),
        "intersection": rng.integers(0, 80, len(row)),
        "area": rng.integers(80, 400, len(row)),
    }
    return columns, rivals


def test_a_record_gives_back_its_table(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = put_cell(store, "etris")
    by_split = {name: with_rivals(number) for number, name in enumerate(("val", "testA"))}
    arrays = join_splits({name: columns for name, (columns, _) in by_split.items()})
    arrays |= join_rivals({name: rivals for name, (_, rivals) in by_split.items()})
    store.save(record, arrays)
    saved = store.expressions(record.cell)
    for name, (columns, rivals) in by_split.items():
        found = rivals_of(saved, name)
        assert found.keys() == rivals.keys()
        assert all(np.array_equal(found[field], column) for field, column in rivals.items())
        assert {column.dtype for column in found.values()} == {np.dtype("int64")}
        expected = columns | identity_columns(columns, rivals)
        picked = of_split(store, record, name)
        assert picked.keys() == expected.keys()
        assert all(np.array_equal(picked[field], column) for field, column in expected.items())


def test_what_takes_a_row_per_expression_is_not_disturbed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = put_cell(store, "etris")
    columns, rivals = with_rivals(3)
    store.save(record, join_splits({"val": columns, "testA": columns}) | join_rivals({"val": rivals}))
    assert len(load_expressions(tmp_path)) == 2 * len(columns["union"])
    saved = store.expressions(record.cell)
    assert {len(column) for column in pick_split(saved, "val").values()} == {len(columns["union"])}
    # The record is older than the metrics: they are computed from the arrays, where those have rivals.
    frame = load(tmp_path).set_index("split")
    assert frame.loc["val", "target_right"] == METRICS["target_right"].function(pick_split(saved, "val"))
    assert np.isnan(frame.loc["testA", "target_right"])


def test_an_old_record_has_no_such_table(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = put_cell(store, "etris")
    assert rivals_of(store.expressions(record.cell), "val") == {}
    assert "s_target" not in of_split(store, record, "val")
    assert not METRICS["target_right"].applies(of_split(store, record, "val"))


def test_masks_are_in_a_file_of_their_own(tmp_path: Path) -> None:
    store = Store(tmp_path / "a")
    record = put_cell(store, "etris")
    columns = expressions(0)
    masks = {"counts": np.arange(9, dtype=np.uint8), "offsets": np.array([0, 4, 9]), "sent_id": np.array([5, 6])}
    store.save(record, join_splits({"val": columns}) | join_masks({"val": masks}))
    assert store.expressions(record.cell).keys() == {f"val/{name}" for name in columns}
    found = masks_of(store.predicted_masks(record.cell), "val")
    assert all(np.array_equal(found[name], array) for name, array in masks.items())
    saved = store.load(record.cell)
    assert saved is not None
    assert saved.files.keys() == {"expressions", "masks"}

    # They are copied with the record, and refused where they are another attempt's.
    merge([tmp_path / "a"], tmp_path / "b")
    assert Store(tmp_path / "b").masks(record.cell).read_bytes() == store.masks(record.cell).read_bytes()
    store.masks(record.cell).write_bytes(b"other")
    with pytest.raises(DataError, match="damaged"):
        store.predicted_masks(record.cell)

    # A record without masks leaves none of an earlier one.
    store.save(record, join_splits({"val": columns}))
    with pytest.raises(DataError, match="keep-masks"):
        store.predicted_masks(record.cell)
