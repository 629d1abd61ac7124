"""Overlaps of training and evaluation images, against sets counted by hand."""

from pathlib import Path

import pytest

from barbench.datasets.content import read_dataset
from barbench.datasets.overlap import overlaps, read_outlines, training
from barbench.datasets.subset import expressions
from barbench.paper.partitions import PAPER_PARTITIONS
from barbench.spec.dataset import DATASETS
from tests.datasets.overlapping import EVALUATED, SPLITS, write_overlapping

PAPERS = [dataset for dataset in DATASETS if {p.name for p in dataset.members} <= set(PAPER_PARTITIONS.names())]


@pytest.fixture
def mixed_root(tmp_path: Path) -> Path:
    return write_overlapping(tmp_path / "mixed")


def test_every_training_set_against_every_evaluation_split(mixed_root: Path) -> None:
    found = {
        f.dataset.name: f for f in overlaps(PAPERS, list(PAPER_PARTITIONS), read_outlines(mixed_root, PAPER_PARTITIONS))
    }
    trained = {name: set(splits["train"]) for name, splits in SPLITS.items()}
    union = trained["refcoco"] | trained["refcoco+"] | trained["refcocog-u"]
    trained |= {"mixed": union - EVALUATED, "mixed-leaked": union}
    assert {name: f.images for name, f in found.items()} == {name: len(ids) for name, ids in trained.items()}
    assert trained["mixed"] == {2, 3, 10}
    for name, f in found.items():
        assert dict(f.shared) == {
            (p.name, split): len(trained[name] & SPLITS[p.name][split].keys())
            for p in PAPER_PARTITIONS
            for split in p.eval_splits
        }
    assert found["mixed-leaked"].shared["refcocog-g", "val"] == len({7, 8})
    assert found["refcocog-g"].shared["refcoco", "val"] == len({4})


@pytest.mark.parametrize("name", [dataset.name for dataset in PAPERS])
def test_the_outline_agrees_with_what_a_cell_reads(mixed_root: Path, name: str) -> None:
    """The audit and the plan count from the references' files, a cell from the data themselves."""
    dataset = DATASETS.get(name)
    outlines, data = read_outlines(mixed_root, dataset.partitions), read_dataset(mixed_root, dataset)
    [found] = overlaps([dataset], list(dataset.members), outlines)
    assert {e.key: found.shared[e.partition.name, e.split] for e in dataset.evaluation_splits} == data.shared
    assert found.references == len(training(dataset, outlines)) == sum(len(s.references) for s in data.train)
    sentences = sum(len(r.sentences) for split in data.evals.values() for r in split.references)
    assert expressions(dataset, outlines) == sentences
