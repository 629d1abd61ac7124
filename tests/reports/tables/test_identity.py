"""The tables of what is shown, the object or the pixels, by hand and on records that cannot have them."""

from pathlib import Path

import numpy as np

from barbench.metrics import Columns
from barbench.metrics.identity import Rivals
from barbench.reports.formats import markdown
from barbench.reports.tables.grouping import group
from barbench.reports.tables.identity import NUMBER
from barbench.reports.write import EXTRA, write_reports
from barbench.results.expressions import join_rivals, join_splits
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store
from tests.reports.conftest import Make
from tests.reports.tables.test_objects import put_hand

# The three predictions of the example of 100 pixels, a good mask, and an expression without a rival.
AREA = np.full(5, 20)
PREDICTED = np.array([15, 27, 22, 20, 10])
SHARED = np.array([10, 1, 10, 20, 5])
COLUMNS: Columns = {
    "intersection": SHARED,
    "union": PREDICTED + AREA - SHARED,
    "control_intersection": np.zeros(5, np.int64),
    "control_union": np.full(5, -1),
    "area": AREA,
    "image_id": np.array([1, 1, 2, 3, 4]),
    "ann_id": np.array([1, 1, 2, 3, 4]),
    "category_id": np.full(5, 7),
    "sent_id": np.arange(5),
    "words": np.full(5, 2),
}
RIVALS: Rivals = {
    "row": np.arange(4),
    "ann_id": np.array([9, 9, 8, 6]),
    "category_id": np.full(4, 7),
    "intersection": np.array([5, 26, 12, 0]),
    "area": np.full(4, 30),
}


def put(store: Store, make: Make) -> None:
    record = make("etris", "refcoco+", {"val": 65.0})
    store.save(record, join_splits({"val": dict(COLUMNS)}) | join_rivals({"val": RIVALS}))


def cells(text: str, label: str = "ETRIS") -> list[str]:
    row = next(line for line in text.splitlines() if line.startswith(f"| {label}"))
    return [cell.strip().partition("±")[0] for cell in row.strip("|").split("|")]


def test_the_example_by_hand(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, make)
    tables = [markdown.render(table) for table in EXTRA[NUMBER].build(group(store.all()), ResampledScores(store))]
    identity, rivals, thresholds = tables
    assert "4 of 5 expressions with a rival" in identity
    # Right: two of four, another: one. All-target: one of three objects. Quality: (0.4 + 1) / 2. NCI as p_m = 1/4,
    # p_x = 1/2, both 1/4.
    assert cells(identity) == [
        "ETRIS", "50.0", "25.0", "25.0", "33.3", "70.0", "25.0", "25.0", "25.0", "66.7", "50.0", "1.00", "-"
    ]  # fmt: skip
    assert cells(rivals)[1:] == ["20.0", "43.4", "-", "-"]
    assert cells(rivals, "expressions")[1:] == ["1", "4", "0", "0"]
    # 0.4767 is above 0.4671 by less than 0.05; the poor mask's 0.5774 is above 0.2357 by far.
    assert cells(thresholds)[1:] == ["75.0", "50.0", "50.0"] * 3


def test_records_without_rivals_have_no_such_table(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    put_hand(store, make)
    assert EXTRA[NUMBER].build(group(store.all()), ResampledScores(store)) == []
    assert "identity" not in write_reports(store, tmp_path / "out", formats=()).tables


def test_all_tables_have_it_where_the_records_do(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    put(store, make)
    written = write_reports(store, tmp_path / "out")
    assert [path.name for path in written.paths if "identity" in path.name] == ["identity.md", "identity.tex"]
