"""Cells that are limited to some images: said in every heading, and never in one table with the whole data set."""

from pathlib import Path

import pytest

from barbench.errors import UsageError
from barbench.reports.page.html import condition_names
from barbench.reports.tables.accounting import NUMBER
from barbench.reports.tables.build import build
from barbench.reports.tables.grouping import group
from barbench.reports.write import EXTRA
from barbench.results.compare import Wanted, compare
from barbench.results.frames import load
from barbench.results.record import Record, Subset, TrainingSet
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store
from tests.results.cells import put_cell

HEADING = "a subset: 200 training images and 60 images of each evaluation split"
SUBSET = Subset(train=200, evaluate=60)


def limited(record: Record) -> Record:
    """With what a cell of SUBSET keeps of its choice."""
    splits = {}
    for name, split in record.splits.items():
        splits[name] = split.model_copy(update={"images": 60, "whole_images": 1_500, "chosen": "ab"})
    training = TrainingSet(references=600, images=200, mixing="none", whole_images=16_994, chosen="cd")
    return record.model_copy(update={"splits": splits, "training": training})


def test_a_subset_has_tables_of_its_own_whose_headings_say_so(make) -> None:
    whole = [make(method, "refcoco+", {"val": 50.0}) for method in ("snf", "etris")]
    part = [limited(make(method, "refcoco+", {"val": 60.0}, subset=SUBSET)) for method in ("snf", "etris")]
    groups = group([*whole, *part])
    assert [len(members.rows) for members in groups] == [2, 2]
    tables = build("5", groups)
    own = [table for table in tables if HEADING in table.caption]
    [table] = own
    assert HEADING in table.title
    assert "Published" not in table.caption, "what the paper printed is of all images"
    assert [row[0].text for row in table.sections[0].rows] == ["ETRIS", "SNF"]
    notes = " ".join(table.notes)
    assert "Trained on 200 of 16,994 images." in notes
    assert "Evaluated on RefCOCO+ val 60 of 1,500 images." in notes
    assert "Measured: backbone" in next(t for t in tables if t not in own).caption
    headed = [t.caption for t in EXTRA[NUMBER].build(groups, ResampledScores(Store(Path("none"))))]
    assert sum(HEADING in caption for caption in headed) == len(headed) / 2 > 0
    assert sum(HEADING in name for name in condition_names([members.conditions for members in groups])) == 1


@pytest.mark.parametrize(
    ("subset", "words"),
    [({"train": 1}, "a subset: 1 training image"), ({"evaluate": 60}, "a subset: 60 images of each evaluation split")],
)
def test_one_limit_alone_is_said_alone(subset: dict[str, int], words: str) -> None:
    assert str(Subset(**subset)) == words


def test_a_part_is_not_compared_with_the_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    whole = put_cell(store, "snf")
    part = put_cell(store, "snf", subset={"evaluate": 60})
    other = put_cell(store, "etris", subset={"evaluate": 60})
    with pytest.raises(UsageError, match=r"cannot be compared: .*subset\.evaluate None and 60"):
        compare(store, whole.id, part.id, Wanted())
    assert compare(store, other.id, part.id, Wanted(), resamples=50).rows


def test_the_limits_are_columns(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put_cell(store, "snf")
    put_cell(store, "etris", subset={"evaluate": 60, "train": 200})
    frame = load(tmp_path)
    assert set(frame[frame.method == "etris"]["subset.evaluate"]) == {60}
    assert frame[frame.method == "snf"]["subset.train"].isna().all()
