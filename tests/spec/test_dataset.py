"""A resolved data set: carried as JSON, changed as a whole, never built from its name again."""

from dataclasses import replace
from pathlib import Path

import pytest

from barbench.errors import UnknownName
from barbench.paper.partitions import PARTITIONS
from barbench.spec.dataset import DATASETS, Dataset, resolve_dataset

ALL = pytest.mark.parametrize("dataset", list(DATASETS), ids=lambda dataset: dataset.name)


@ALL
def test_json_gives_the_same_data_set(dataset: Dataset) -> None:
    changed = resolve_dataset(dataset.name, None, context_length=40, exif="apply")
    for each in (dataset, changed):
        assert Dataset.model_validate_json(each.model_dump_json()) == each
    assert (changed.context_length, changed.exif) == (40, "apply")


def test_exif_and_context_change_nothing_else() -> None:
    mixed = DATASETS.get("mixed")
    changed = resolve_dataset("mixed", None, context_length=40, exif="apply")
    assert changed.partitions == tuple(replace(partition, exif="apply") for partition in mixed.partitions)
    assert changed.model_copy(update={"context_length": 22}).with_exif("stored") == mixed
    assert resolve_dataset("mixed", None) == mixed


def test_a_cell_stores_the_context_that_its_name_does_not_imply() -> None:
    assert resolve_dataset("refcoco", None).changed_context is None
    assert resolve_dataset("refcoco", None, context_length=17).changed_context is None
    assert resolve_dataset("refcoco", None, context_length=22).changed_context == 22


def test_one_partition_and_a_mixture() -> None:
    single, mixed, leaked = (DATASETS.get(name) for name in ("refcocog-u", "mixed", "mixed-leaked"))
    assert [each.mixing for each in (single, mixed, leaked)] == ["none", "clean", "leaked"]
    assert [split.key for split in single.evaluation_splits] == ["val", "test"]
    assert [split.key for split in mixed.evaluation_splits][-2:] == ["refcocog-u val", "refcocog-u test"]
    assert [p.name for p in mixed.partitions] == ["refcoco", "refcoco+", "refcocog-u", "refcocog-g"]
    assert [dataset.name for dataset in DATASETS if dataset.allows_no_target] == [
        *("grefcoco", "r-refcoco", "r-refcoco+", "r-refcocog", "ref-zom")
    ]


def test_only_what_lies_beside_the_data_is_your_own(tmp_path: Path) -> None:
    assert not any(dataset.is_own for dataset in DATASETS)
    assert Dataset.of(replace(PARTITIONS.get("refcoco"), name="mine")).is_own
    with pytest.raises(UnknownName, match="unknown dataset 'mine'"):
        resolve_dataset("mine", tmp_path)
