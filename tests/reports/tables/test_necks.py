"""The table of necks against differences that are computed here from the counts of single expressions."""

from pathlib import Path

import numpy as np
import pytest

from barbench.errors import UsageError
from barbench.reports.tables.grouping import group
from barbench.reports.tables.necks import build_necks
from barbench.reports.write import write_reports
from barbench.results.record import Record
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store
from tests.reports import runs
from tests.reports.conftest import Make

SKILLS = {
    ("head-only", None): 0.30,
    ("head-only", "none"): 0.20,
    ("etris", None): 0.50,
    ("etris", "none"): 0.50,
    ("barleria", None): 0.60,
}


@pytest.fixture(scope="module")
def store(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("results"))
    for seed in (0, 1):
        for (method, neck), skill in SKILLS.items():
            runs.save(store, make, method, "refcoco", skill=skill, seed=seed, neck=neck)
    return store


def mean_iou(store: Store, method: str, neck: str | None) -> float:
    """Over the three splits alike, and over the seeds."""
    scores = []
    for record in store.all():
        if (record.cell.method, record.cell.neck) == (method, neck):
            columns = store.expressions(record.cell)
            for split in ("val", "testA", "testB"):
                ious = columns[f"{split}/intersection"] / np.maximum(columns[f"{split}/union"], 1)
                scores.append(100 * float(ious.mean()))
    assert len(scores) == 6
    return float(np.mean(scores))


def test_each_row_has_its_scores_and_the_difference_from_no_neck(store: Store) -> None:
    (table,) = build_necks(group(store.all()), ResampledScores(store))
    assert [f"{h.group} {h.name}".strip() for h in table.headers] == [
        "Method",
        "Params (M)",
        "Score neck etris",
        "Score neck none",
        "Minus neck none neck etris",
    ]
    assert [row[0].text for row in table.rows] == ["Head only", "ETRIS"]  # BarLeRIa has one neck
    for row, method in zip(table.rows, ("head-only", "etris"), strict=True):
        with_neck, without = mean_iou(store, method, None), mean_iou(store, method, "none")
        assert row[2].value == pytest.approx(with_neck)
        assert row[3].value == pytest.approx(without)
        assert row[4].value == pytest.approx(with_neck - without)
        assert "±" in row[4].text
    assert [row[4].mark for row in table.rows] == ["differs", None]
    assert "neck" not in table.caption
    assert "What the neck is worth" in table.title


def test_other_conditions_have_a_table_of_their_own(store: Store, make: Make, tmp_path: Path) -> None:
    every = [*store.all()]
    for record in store.all():
        cell = record.cell.model_copy(update={"precision": "bf16"})
        every.append(record.model_copy(update={"id": cell.id(), "cell": cell}))
    tables = build_necks(group(every), ResampledScores(store))
    assert len(tables) == 1  # the other's counts of expressions are not there
    assert "fp32" in tables[0].caption


def test_one_neck_gives_no_table(store: Store, make: Make, tmp_path: Path) -> None:
    single = Store(tmp_path)
    runs.save(single, make, "etris", "refcoco", skill=0.5, seed=0)
    assert build_necks(group(single.all()), ResampledScores(single)) == []
    with pytest.raises(UsageError, match="one method with two necks"):
        write_reports(single, tmp_path / "out", ["necks"])
    assert not any("necks" in path.name for path in write_reports(single, tmp_path / "out").paths)
    assert any(path.name == "necks.md" for path in write_reports(store, tmp_path / "both").paths)


def test_necks_with_other_seeds_are_not_compared(store: Store, make: Make) -> None:
    def kept(record: Record) -> bool:
        return record.cell.neck is None or record.cell.seed == 0

    assert build_necks(group(filter(kept, store.all())), ResampledScores(store)) == []
