"""The images that a limit leaves: the same ones everywhere, smaller subsets within larger ones, one image at a time."""

import hashlib
import json
import pickle
import random
from pathlib import Path

import pytest

from barbench.benchmarks.matrix import cells, subset_of
from barbench.datasets.content import images, read_dataset
from barbench.datasets.overlap import read_outlines
from barbench.datasets.sources import folder_source
from barbench.datasets.subset import chosen_images, expressions
from barbench.results.record import Subset
from barbench.spec.dataset import DATASETS
from barbench.spec.run import Place, Run
from tests.datasets.overlapping import write_overlapping


def by_hand(ids: list[int], dataset: str, split: str, count: int) -> list[int]:
    """The rule as it is written down: hashes in hexadecimal, smallest first."""
    named = [(hashlib.sha256(f"barbench-subset-v1:{dataset}:{split}:{i}".encode()).hexdigest(), i) for i in ids]
    return sorted(i for _, i in sorted(named)[:count])


def test_the_choice_is_the_written_rule_and_nested() -> None:
    ids = list(range(500))
    random.Random(4).shuffle(ids)
    before: frozenset[int] = frozenset()
    for count in (1, 7, 100, 499, 500, 900):
        chosen = chosen_images(ids, "refcoco", "val", count)
        assert sorted(chosen) == by_hand(list(range(500)), "refcoco", "val", count)
        assert before <= chosen
        before = chosen
    # Written down once: a change of the rule would make another subset of every stored baseline.
    assert sorted(chosen_images(range(1000), "refcoco", "val", 5)) == FIXED


FIXED = [252, 363, 496, 734, 812]  # by sha256sum and sort of a shell


def test_another_data_set_or_split_has_other_images() -> None:
    chosen = {chosen_images(range(1000), *name, 50) for name in (("a", "val"), ("a", "testA"), ("b", "val"))}
    assert len(chosen) == 3


@pytest.mark.parametrize("count", [1, 20, 60])
def test_an_image_more_moves_at_most_one_member(count: int) -> None:
    moved = []
    for new in range(1000, 1200):
        before = chosen_images(range(100), "mine", "val", count)
        after = chosen_images([*range(100), new], "mine", "val", count)
        assert len(after) == len(before) == count
        assert len(before - after) == len(after - before) <= 1
        moved.append(len(after - before))
    # The new image is in the subset as often as its size says.
    assert sum(moved) / len(moved) == pytest.approx(count / 101, abs=0.12)


def test_all_references_of_an_image_stay_and_names_and_order_of_files_change_nothing(
    shapes_root: Path, tmp_path: Path
) -> None:
    dataset = DATASETS.get("refcoco+")
    whole = read_dataset(shapes_root, dataset)
    part = read_dataset(shapes_root, dataset, limit=2, limit_train=9)
    for key, split in part.evals.items():
        kept = images([split])
        assert sorted(kept) == by_hand(sorted(images([whole.evals[key]])), "refcoco+", key, 2)
        assert split.references == tuple(r for r in whole.evals[key].references if r.image_id in kept)
        assert part.chosen[key].images == 4
        assert part.chosen[key].digest == hashlib.sha256(",".join(map(str, sorted(kept))).encode()).hexdigest()
    assert sorted(images(part.train)) == by_hand(sorted(images(whole.train)), "refcoco+", "train", 9)
    assert part.chosen_train is not None
    assert part.chosen_train.images == 16

    # The same references in another order, images under other names.
    folder = tmp_path / "refcoco+"
    folder.mkdir()
    (tmp_path / "images").symlink_to(shapes_root / "images")
    entries = pickle.loads((shapes_root / "refcoco+/refs(unc).p").read_bytes())
    random.Random(0).shuffle(entries)
    (folder / "refs(unc).p").write_bytes(pickle.dumps(entries, protocol=2))
    instances = json.loads((shapes_root / "refcoco+/instances.json").read_text())
    instances["images"].reverse()
    (folder / "instances.json").write_text(json.dumps(instances))
    again = read_dataset(tmp_path, dataset, limit=2, limit_train=9)
    assert again.chosen == part.chosen
    assert again.chosen_train == part.chosen_train


def test_a_mixture_chooses_among_the_images_that_train_it(tmp_path: Path) -> None:
    root = write_overlapping(tmp_path)
    mixed = DATASETS.get("mixed")
    whole = read_dataset(root, mixed)
    part = read_dataset(root, mixed, limit=1, limit_train=2)
    assert sorted(images(part.train)) == by_hand(sorted(images(whole.train)), "mixed", "train", 2)
    for key, member, split in mixed.evaluation_splits:
        assert sorted(images([part.evals[key]])) == by_hand(
            sorted(images([whole.evals[key]])), member.name, split, 1
        ), "the images of a member's split are those that it has alone"


def test_a_limit_that_leaves_all_is_none(shapes_root: Path) -> None:
    dataset = DATASETS.get("refcoco+")
    source = folder_source(shapes_root, dataset)

    def subset(limit: int | None, limit_train: int | None) -> Subset | None:
        return subset_of(Run(limit=limit, limit_train=limit_train), dataset, source)

    assert subset(None, None) is None
    assert subset(4, 16) is None
    assert subset(100, None) is None
    assert subset(3, None) == Subset(evaluate=3)
    assert subset(4, 15) == Subset(train=15)
    assert subset(3, 15) == Subset(train=15, evaluate=3)


def test_a_subset_is_another_cell_and_none_is_the_old_one(shapes_root: Path) -> None:
    def made(**limits: int) -> list[str]:
        run = Run.of({"data": str(shapes_root), "methods": "snf", "datasets": "refcoco+", **limits})
        return [job.cell.id() for job in cells(run, Place())]

    assert made(limit=99, limit_train=99) == made()
    ids = [made(), made(limit=3), made(limit=2), made(limit_train=3), made(limit=3, limit_train=3)]
    assert len({cell for [cell] in ids}) == len(ids)


def test_expressions_are_those_of_the_chosen_images(shapes_root: Path) -> None:
    dataset = DATASETS.get("refcoco+")
    outlines = read_outlines(shapes_root, dataset.partitions)
    for limit in (1, 3, None):
        part = read_dataset(shapes_root, dataset, limit=limit)
        counted = sum(len(r.sentences) for split in part.evals.values() for r in split.references)
        assert expressions(dataset, outlines, limit) == counted
