"""A trained cell on other data and in other words: counts, leaks, and that its own record stays as it is."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from barbench.benchmarks import elsewhere
from barbench.benchmarks.cell_model import Trained, load_trained
from barbench.benchmarks.elsewhere import Elsewhere, Outcome, evaluate_elsewhere, notes, row
from barbench.datasets.content import images, read_dataset
from barbench.errors import DataError, UnknownName
from barbench.metrics import predicted_pixels, summarize
from barbench.results.evaluations import folder_of, load_all
from barbench.results.expressions import of_split
from barbench.results.record import Record
from barbench.results.store import Store
from barbench.spec.dataset import DATASETS


class World:
    """A copy of a results folder with one cell, trained on refcocog-g, and its data."""

    def __init__(self, store: Store, record: Record, root: Path, backbone: Path) -> None:
        self.store = store
        self.record = record
        self.root = root
        self.trained: Trained = load_trained(store, record, "cpu", str(backbone))

    def __call__(self, dataset: str, *splits: str, **asked: Any) -> list[Outcome]:
        wanted = Elsewhere(str(self.root), dataset, splits, **asked)
        return evaluate_elsewhere(self.store, self.trained, wanted, lambda _: nullcontext(lambda done, total: None))


@pytest.fixture
def world(finished: tuple[Store, Record], shapes_root: Path, backbone_folder: Path, tmp_path: Path) -> World:
    store, record = finished
    shutil.copytree(store.folder, tmp_path / "results")
    return World(Store(tmp_path / "results"), record, shapes_root, backbone_folder)


def test_the_own_split_again_has_the_records_counts_and_its_record_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.store.path(world.record.cell).read_bytes()
    [outcome] = world("refcocog-g", "val")
    stored = of_split(world.store, world.record, "val")
    for name, column in outcome.found.columns.items():
        assert np.array_equal(stored[name], column), name
    assert outcome.found.record.scores == world.record.splits["val"].scores
    assert world.store.path(world.record.cell).read_bytes() == before
    assert [record.id for record in world.store.all()] == [world.record.id]
    assert [record.id for record in load_all(world.store.folder)] == [outcome.found.record.id]

    # A second time it is read, not run.
    monkeypatch.setattr(elsewhere, "evaluate", None)
    [again] = world("refcocog-g", "val")
    assert again.found.record.scores == outcome.found.record.scores
    folder = folder_of(world.store, world.record.cell)
    next(folder.glob("*.npz")).write_bytes(b"")
    with pytest.raises(DataError, match=r"is not the file that .* was saved with; remove both"):
        world("refcocog-g", "val")


def test_images_that_trained_the_cell_are_counted_and_left_out_of_the_second_scores(world: World) -> None:
    trained = images(read_dataset(world.root, DATASETS.get("refcocog-g")).train)
    outcomes = world("refcocog-u") + world("refcocog-g")
    leaked = 0
    for outcome in outcomes:
        record, columns = outcome.found
        shared = {i for i in columns["image_id"].tolist() if i in trained}
        assert record.leaks.shared_images == len(shared)
        rest = np.array([i not in shared for i in columns["image_id"].tolist()])
        if shared and rest.any():
            expected = summarize(columns["intersection"][rest], columns["union"][rest])
            assert record.leaks.without_shared is not None
            assert record.leaks.without_shared["miou"] == expected["miou"]
            leaked += 1
        if not shared:
            assert record.leaks.without_shared is None
    assert leaked or any(outcome.found.record.leaks.shared_images for outcome in outcomes)
    assert outcomes[0].found.record.label == "refcocog-g -> refcocog-u val"


def test_without_the_training_data_leaks_are_unknown(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "refcoco+").mkdir(parents=True)
    for name in ("shapes.json", "refcoco+/refs(unc).p", "refcoco+/instances.json"):
        (other / name).write_bytes((world.root / name).read_bytes())
    (other / "images").symlink_to(world.root / "images")
    world.root = other
    [outcome] = world("refcoco+", "val", limit=2)
    assert outcome.found.record.leaks.shared_images is None
    assert "are not at hand" in outcome.found.record.leaks.why_unknown
    assert outcome.found.record.evaluated.limit == 2
    assert outcome.found.record.images == 2
    assert row(outcome)["shared images"] == "unknown"
    assert "not known" in notes([outcome])[0]


def test_other_words_are_scored_on_the_same_objects(world: World) -> None:
    [outcome] = world("refcoco", "val", text="empty")
    found, original = outcome.found, outcome.original
    assert original is not None
    for name in ("sent_id", "ann_id", "image_id", "area"):
        assert np.array_equal(found.columns[name], original.columns[name])
    assert found.record.changed == len(found.columns["sent_id"])
    assert found.record.changed_scores is not None
    assert found.record.changed_scores.mean == found.record.scores.mean
    assert found.record.original_scores is not None
    assert found.record.original_scores.overall == original.record.scores.overall
    # One image and no words: one prediction.
    predicted = predicted_pixels(found.columns)
    for image in np.unique(found.columns["image_id"]):
        assert len(set(predicted[found.columns["image_id"] == image].tolist())) == 1
    shown = row(outcome)
    gap = 100 * (found.record.scores.mean - original.record.scores.mean)
    assert str(shown["difference"]).startswith(f"{gap:+.1f} [")
    assert len(load_all(world.store.folder)) == 2


def test_what_is_not_there_is_refused(world: World) -> None:
    with pytest.raises(UnknownName, match="evaluation split 'tset'"):
        world("refcocog-u", "tset")
    with pytest.raises(UnknownName, match="unknown dataset"):
        world("refcocco")
    with pytest.raises(UnknownName, match="text variant"):
        world("refcoco", "val", text="emty")
