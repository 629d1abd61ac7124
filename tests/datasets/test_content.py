"""Mixed training: what trains, what is taken out, which images are shared; against sets written out by hand."""

from collections import Counter
from pathlib import Path

import pytest

from barbench.datasets.content import DatasetContent, _share, check_held_out, images, read_dataset
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.samples import JointSamples, TrainSamples
from barbench.datasets.sources import folder_source
from barbench.datasets.tokens import Tokens
from barbench.errors import DataError, MissingData, UsageError
from barbench.paper.mixtures import MEMBERS
from barbench.paper.partitions import PAPER_PARTITIONS
from barbench.paper.tables import MEMBER_COLUMNS
from barbench.spec.dataset import DATASETS, Dataset
from tests.datasets.overlapping import EVALUATED, SPLITS, write_overlapping

EIGHT = [
    *("refcoco val", "refcoco testA", "refcoco testB", "refcoco+ val", "refcoco+ testA", "refcoco+ testB"),
    *("refcocog-u val", "refcocog-u test"),
]


@pytest.fixture
def mixed_root(tmp_path: Path) -> Path:
    return write_overlapping(tmp_path / "mixed")


def trained_on(data: DatasetContent) -> dict[str, Counter[int]]:
    """By member: image -> references."""
    return {s.data.partition.name: Counter(r.image_id for r in s.references) for s in data.train}


def test_clean_leaves_out_every_evaluation_image_of_every_data_set(mixed_root: Path) -> None:
    data = read_dataset(mixed_root, DATASETS.get("mixed"))
    kept = {
        name: Counter({image: n for image, n in SPLITS[name]["train"].items() if image not in EVALUATED})
        for name in ("refcoco", "refcoco+", "refcocog-u")
    }
    assert kept == {"refcoco": {2: 1, 3: 2}, "refcoco+": {2: 2, 3: 1}, "refcocog-u": {3: 1, 10: 1}}
    assert trained_on(data) == kept
    assert data.removed_images == len({1, 4, 7, 8})
    assert data.removed_references == 2 + 1 + (1 + 2 + 1)
    assert data.shared == dict.fromkeys(EIGHT, 0)


def test_leaked_leaves_them_in_and_counts_them(mixed_root: Path) -> None:
    data = read_dataset(mixed_root, DATASETS.get("mixed-leaked"))
    assert trained_on(data) == {p.name: Counter(SPLITS[p.name]["train"]) for p in MEMBERS}
    assert (data.removed_images, data.removed_references) == (0, 0)
    # RefCOCO's val image is in umd's train, umd's val image in RefCOCO's and RefCOCO+'s.
    assert {key for key, shared in data.shared.items() if shared} == {"refcoco val", "refcoco+ val", "refcocog-u val"}
    assert set(data.shared.values()) == {0, 1}


@pytest.mark.parametrize("name", ["mixed", "mixed-leaked"])
def test_the_eight_columns_of_tables_2_and_3_are_evaluated_whole(mixed_root: Path, name: str) -> None:
    data = read_dataset(mixed_root, DATASETS.get(name))
    assert list(data.evals) == EIGHT
    found = {key: Counter(r.image_id for r in split.references) for key, split in data.evals.items()}
    assert found == {f"{p.name} {split}": Counter(SPLITS[p.name][split]) for p in MEMBERS for split in p.eval_splits}


@pytest.mark.parametrize("partition", list(PAPER_PARTITIONS), ids=lambda p: p.name)
def test_a_data_set_alone_is_as_it_was_and_its_overlap_is_counted(mixed_root: Path, partition) -> None:
    data = read_dataset(mixed_root, Dataset.of(partition))
    assert trained_on(data) == {partition.name: Counter(SPLITS[partition.name]["train"])}
    assert list(data.evals) == list(partition.eval_splits)
    train = SPLITS[partition.name]["train"].keys()
    assert data.shared == {s: len(SPLITS[partition.name][s].keys() & train) for s in partition.eval_splits}
    assert any(data.shared.values()) == (partition.name == "refcocog-g")


def test_joint_samples_are_each_members_own(mixed_root: Path) -> None:
    """Item for item those of the members' own sample sets, in their order, with one index over all."""
    tokens = Tokens(lambda texts, length: _letters(texts, length), 22)
    data = read_dataset(mixed_root, DATASETS.get("mixed-leaked"))
    parts = [TrainSamples(split, Letterbox(48), tokens, seed=5) for split in data.train]
    joint = JointSamples(parts)
    assert len(joint) == sum(map(len, parts)) == len(joint.references) == 5 + 4 + 6
    joint.set_epoch(3)
    everything = list(range(len(joint)))
    items = [part[[i]] for part in parts for i in range(len(part))]
    batch = joint[everything]
    assert batch.indices == everything
    for index, own in enumerate(items):
        assert all((column[index] == single[0]).all() for column, single in zip(batch[:3], own[:3], strict=True))
    firsts = {tuple(row.tolist()) for row in batch.ids}
    assert len(firsts) == len(joint)  # the texts name their data set: no item stands for another's
    joint.set_epoch(4)
    assert {tuple(row.tolist()) for row in joint[everything].ids} != firsts
    alone = JointSamples(parts[:1])
    assert all((a == b).all() for a, b in zip(alone[[2, 0]][:3], parts[0][[2, 0]][:3], strict=True))


def _letters(texts: list[str], length: int):
    import torch

    return torch.tensor([[ord(c) for c in text.ljust(length, "\0")[:length]] for text in texts])


def test_the_context_is_the_longest_of_the_members() -> None:
    assert {DATASETS.get(name).context_length for name in ("mixed", "mixed-leaked")} == {22}


def test_cleaning_needs_googles_partition_and_says_where(mixed_root: Path) -> None:
    (mixed_root / "refcocog/refs(google).p").unlink()
    with pytest.raises(MissingData, match=r"refs\(google\)\.p for refcocog-g"):
        read_dataset(mixed_root, DATASETS.get("mixed"))
    assert read_dataset(mixed_root, DATASETS.get("mixed-leaked")).train


def test_an_entry_without_an_image_is_named(mixed_root: Path) -> None:
    path = mixed_root / "refcocog/refs(google).p"
    path.write_bytes(path.read_bytes().replace(b"image_id", b"image_no"))
    says = r"refs\(google\)\.p does not hold REFER references: entry 0 of its references: it lacks the key 'image_id'"
    with pytest.raises(DataError, match=says):
        read_dataset(mixed_root, DATASETS.get("mixed"))


def test_the_identity_follows_every_file_that_is_read(mixed_root: Path) -> None:
    def prints() -> dict[str, str]:
        return {
            dataset.name: folder_source(mixed_root, dataset).fingerprint
            for dataset in DATASETS
            if {member.name for member in dataset.members} <= set(PAPER_PARTITIONS.names())
        }

    before = prints()
    assert len(set(before.values())) == 6
    path = mixed_root / "refcocog/refs(google).p"
    path.write_bytes(path.read_bytes().replace(b"refcocog-g 7", b"refcocog-g 0"))
    after = prints()
    assert {name for name in before if before[name] != after[name]} == {"refcocog-g", "mixed"}


def test_tables_2_and_3_have_the_columns_that_a_mixture_is_evaluated_on() -> None:
    columns = {(e.partition.name, e.partition.columns[e.split]) for e in DATASETS.get("mixed").evaluation_splits}
    assert columns == {tuple(c) for c in MEMBER_COLUMNS}


def test_held_out_images_leave_training_whole_and_take_the_place_of_the_splits(mixed_root: Path) -> None:
    for dataset in (DATASETS.get("refcoco+"), DATASETS.get("mixed-leaked")):
        whole = read_dataset(mixed_root, dataset)
        part = read_dataset(mixed_root, dataset, held_out=65)
        assert [e.key for e in part.evaluation_splits] == [f"held out {p.name}" for p in dataset.members]
        for before, after, held in zip(whole.train, part.train, part.evals.values(), strict=True):
            assert sorted(r.ref_id for r in (*after.references, *held.references)) == sorted(
                r.ref_id for r in before.references
            )
            assert not {r.image_id for r in after.references} & {r.image_id for r in held.references}
            assert held.references
            assert after.references


def test_about_as_many_images_are_held_out_as_asked() -> None:
    assert sum(_share(i) < 20 for i in range(10_000)) == pytest.approx(2_000, abs=150)


def test_no_image_of_an_evaluation_split_judges_a_trial(mixed_root: Path) -> None:
    """Google's split of RefCOCOg has other objects of the same images in train and val; so have mixtures that leak."""
    for name in ("refcoco", "refcocog-u", "refcocog-g", "mixed", "mixed-leaked"):
        dataset = DATASETS.get(name)
        whole = read_dataset(mixed_root, dataset)
        evaluated = images(list(whole.evals.values()))
        for percent in (40, 99):
            part = read_dataset(mixed_root, dataset, held_out=percent)
            assert not images(list(part.evals.values())) & evaluated
            for before, after in zip(whole.train, part.train, strict=True):
                kept = images([before]) & evaluated
                assert images([after]) & evaluated == kept, "those train as they do otherwise"


def test_a_share_that_holds_out_nothing_names_one_that_does(mixed_root: Path) -> None:
    dataset = DATASETS.get("refcoco+")
    with pytest.raises(
        UsageError, match=r"holds out none of the \d+ training images of refcoco\+; use --held-out"
    ) as e:
        check_held_out(read_dataset(mixed_root, dataset, held_out=1), 1)
    smallest = int(str(e.value).rpartition(" ")[2])
    check_held_out(read_dataset(mixed_root, dataset, held_out=smallest), smallest)
    with pytest.raises(UsageError, match="holds out none"):
        check_held_out(read_dataset(mixed_root, dataset, held_out=smallest - 1), smallest - 1)
    with pytest.raises(UsageError, match=r"leaves refcoco\+ no image to train on"):
        check_held_out(read_dataset(mixed_root, dataset, held_out=100), 100)
