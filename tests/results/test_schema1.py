"""Records of schema 1, of barbench 0.1.0 and 0.2.0, still load, compare and report.

`schema1/` holds two cells that commit 055a6ed wrote: `run --methods etris,snf --backbone tiny --recipe demo`.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from barbench.reports.tables.build import build_measured
from barbench.reports.tables.grouping import group
from barbench.results.compare import Wanted, compare
from barbench.results.frames import load, load_expressions
from barbench.results.record import Record
from barbench.results.store import Store

STORED = Path(__file__).parent / "schema1"
IDS = ["feb4f16d0020", "cefdf66bb769"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORED, tmp_path / "results"))


def fields(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(next(folder.glob("snf--*.json")).read_text())
    return read


def test_they_load_with_their_ids_and_scores(folder: Path) -> None:
    store = Store(folder)
    records = store.all()
    assert store.unreadable == []
    assert [record.id for record in records] == IDS
    assert [record.cell.id() for record in records] == IDS
    assert [record.schema_version for record in records] == [2, 2]
    written = fields(folder)["splits"]["val"]
    scores = records[1].splits["val"].scores
    assert scores.values == {name: written["scores"][name] for name in scores.values}
    assert list(scores.values) == ["miou", "oiou", "p50", "p60", "p70", "p80", "p90"]
    assert scores.n == written["scores"]["n"]
    control = records[1].splits["val"].control
    assert control is not None
    assert control.miou == written["control"]["miou"]


def test_they_are_saved_again_as_schema_2(folder: Path, tmp_path: Path) -> None:
    [_, record] = Store(folder).all()
    path = Store(tmp_path / "new").save(record, Store(folder).expressions(record.cell))
    saved = json.loads(path.read_text())
    assert saved["schema_version"] == 2
    assert "n_acc" not in saved["splits"]["val"]["scores"]
    again = Store(tmp_path / "new").load(record.cell)
    assert again is not None
    assert again.splits == record.splits


def test_a_record_of_before_the_accuracies_were_kept(folder: Path) -> None:
    """Barbench 0.1.0 had no `n_acc`, `t_acc`, `attempts`, `files`, `kinds` and `training`."""
    old = fields(folder)
    for name in ("attempts", "files", "kinds", "training", "peak_memory_bytes"):
        del old[name]
    for split in old["splits"].values():
        for kind in ("scores", "control"):
            del split[kind]["n_acc"], split[kind]["t_acc"]
        del split["protocol"], split["shared_images"]
    for name in ("context_length", "exif", "held_out"):
        del old["cell"][name]
    record = Record.model_validate(old)
    assert record.id == IDS[1]
    assert record.splits["val"].scores == Store(folder).all()[1].splits["val"].scores


def test_grefcoco_had_other_names_for_its_scores(folder: Path) -> None:
    old = fields(folder)
    old["splits"]["val"]["scores"] |= {"n_acc": 0.25, "t_acc": None}
    split = Record.model_validate(old).splits["val"]
    assert split.scores.mean_name == "giou"
    assert split.scores.mean == old["splits"]["val"]["scores"]["miou"]
    assert split.scores.overall == old["splits"]["val"]["scores"]["oiou"]
    assert (split.scores["n_acc"], "t_acc" in split.scores.values) == (0.25, False)
    assert split.control is not None
    assert split.control.mean_name == "miou"  # the swapped control is over expressions that mean something


@pytest.mark.parametrize("splits", [[], None, 3, {"val": None}, {"val": {"scores": 3}}, {"val": {"scores": {"n": []}}}])
def test_a_damaged_one_is_named(folder: Path, splits: object) -> None:
    path = next(folder.glob("snf--*.json"))
    path.write_text(json.dumps(fields(folder) | {"splits": splits}))
    store = Store(folder)
    assert [record.id for record in store.all()] == IDS[:1]
    assert [found.path for found in store.unreadable] == [path]
    assert path.exists()


def test_they_compare(folder: Path) -> None:
    """With the numbers that commit 055a6ed printed."""
    found = compare(Store(folder), "etris", "snf", Wanted())
    rows = {(row.split, row.metric): row for row in found.rows}
    assert list(rows) == [
        (split, metric)
        for split in ("val", "testA", "testB")
        # The last two are later than that commit.
        for metric in ("mIoU", "oIoU", "P@0.5", "All@0.7", "worst sentence")
    ]
    val = rows["val", "mIoU"]
    assert (val.images, val.expressions, val.verdict) == (240, 1420, "SNF is higher")
    assert (val.first, val.second) == pytest.approx((40.4850380311268, 44.41312101859457), rel=1e-12)
    assert (val.low, val.high) == pytest.approx((-4.798541875896321, -3.0576240990392267), rel=1e-9)
    precision = rows["testB", "P@0.5"]
    assert (precision.low, precision.high) == pytest.approx((-7.735198205830862, -1.046671482554406), rel=1e-9)


def test_they_report(folder: Path) -> None:
    [table] = build_measured("5", group(Store(folder).all()))
    [measured, swapped] = table.sections
    assert [[entry.text for entry in row][2:5] for row in measured.rows] == [
        ["40.5", "33.6", "39.4"],
        ["44.4", "37.9", "42.5"],
    ]
    assert swapped.heading == "Expressions swapped (lower is better)"


def test_they_give_data_frames(folder: Path) -> None:
    frame = load(folder)
    assert frame.loc[frame["split"] == "val", "miou"].tolist() == pytest.approx([0.40485, 0.444131], abs=1e-6)
    assert pd.isna(frame["giou"]).all()
    assert len(load_expressions(folder)) == 2 * (1420 + 702 + 706)
