"""Data sets of one's own: from a table or a YAML to a split by name."""

import json
from pathlib import Path

import pytest
import yaml

from barbench.benchmarks.matrix import choose_datasets
from barbench.commands.data_checks import verify_data
from barbench.datasets.importers.source import Request, import_data
from barbench.datasets.refer import read_refer
from barbench.datasets.sources import find_source
from barbench.errors import DataError, UnknownName, UsageError
from barbench.spec.dataset import resolve_dataset
from tests.datasets.importers import forms
from tests.datasets.importers.release import Release


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The small release as a table named `mine`, imported."""
    folder = forms.table(Release(), tmp_path / "source", masks=False)
    table = (folder / "refcoco.csv").rename(folder / "mine.csv")
    import_data(Request(table, tmp_path / "root"), lambda done, total: None)
    return tmp_path / "root"


def test_a_table_becomes_a_data_set_by_its_name(root: Path) -> None:
    assert [file.parent.name for file in root.glob("*/protocol.yaml")] == ["mine"]
    dataset = resolve_dataset("mine", root)
    [mine] = dataset.members
    assert (mine.eval_splits, dataset.context_length, mine.folder) == (("val", "testA", "testB"), 22, "mine")
    assert len(read_refer(root, mine).split("train").references) == 12
    with pytest.raises(UnknownName, match="mine"):
        resolve_dataset("mine", None)
    with pytest.raises(UnknownName, match="mine"):
        resolve_dataset("mine", root.parent)


def test_it_verifies_as_sound(root: Path) -> None:
    rows, findings, sound = verify_data(str(root), "all")
    assert sound
    assert [row["split"] for row in rows] == ["mine train", "mine val", "mine testA", "mine testB"]
    assert findings == ["12 images opened; the data are sound"]


def test_sound_is_told_from_released(tmp_path: Path) -> None:
    root = Release().write(tmp_path / "root")
    _, findings, ok = verify_data(str(root), "refcoco")
    assert not ok
    assert findings[-1].endswith("the data are sound, but not the public release: accept that with --own")
    assert "difference: refcoco: train has 12 references, the public release has 42,404" in findings
    assert verify_data(str(root), "refcoco", own=True)[2]
    next((root / "images/train2014").iterdir()).write_bytes(b"")
    _, findings, ok = verify_data(str(root), "refcoco", own=True)
    assert not ok
    assert findings[-1].endswith("the data are not sound")


def test_the_yaml_says_files_splits_and_context(root: Path) -> None:
    folder = root / "mine"
    refs = read_refer(root, resolve_dataset("mine", root).members[0]).references
    entries = [
        {
            **{key: getattr(r, key) for key in ("ref_id", "ann_id", "image_id", "split")},
            "category_id": 1,
            "sentences": [{"sent_id": s.sent_id, "sent": s.text} for s in r.sentences],
        }
        for r in refs
    ]
    (folder / "other.json").write_text(json.dumps(entries))
    (folder / "instances.json").rename(folder / "coco.json")
    fields = {"refs": "other.json", "instances": "coco.json", "splits": ["val"], "context_length": 40, "title": "Mine"}
    (folder / "protocol.yaml").write_text(yaml.safe_dump(fields))
    dataset = resolve_dataset("mine", root)
    assert (dataset.context_length, dataset.title) == (40, "Mine")
    assert [e.key for e in dataset.evaluation_splits] == ["val"]
    assert len(read_refer(root, dataset.members[0]).references) == len(refs)
    fingerprint = find_source(str(root), dataset).fingerprint
    (folder / "protocol.yaml").write_text(yaml.safe_dump({**fields, "splits": ["testA"]}))
    assert find_source(str(root), resolve_dataset("mine", root)).fingerprint != fingerprint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("splits: val", "splits: Input should be a valid list, not 'val'"),
        ("title: x", "splits: Field required"),
        ("splits: [train]", "each once and without train"),
        ("splits: [val]\ncontext_length: 2", "context_length: Input should be greater than or equal to 3, not 2"),
        ("splits: [val]\nrefs: ../../etc/passwd", "not the name of a file in the same folder"),
        ("splits: [val]\nword: 3", "unknown key 'word'"),
        ("[", "does not describe a data set"),
        ("", "does not describe a data set"),
    ],
)
def test_a_broken_yaml_is_named(root: Path, content: str, words: str) -> None:
    (root / "mine/protocol.yaml").write_text(content)
    with pytest.raises(DataError, match=rf"mine/protocol\.yaml.*{words}"):
        resolve_dataset("mine", root)


def test_the_context_can_be_set_for_any_split(root: Path) -> None:
    assert [t.context_length for t in choose_datasets(["refcoco", "mixed", "mine"], str(root), 40)] == [40, 40, 40]
    assert [t.context_length for t in choose_datasets(["refcoco", "mixed", "mine"], str(root))] == [17, 22, 22]


def test_a_table_needs_train_and_another_split(tmp_path: Path) -> None:
    folder = forms.table(Release({"train": 2}), tmp_path / "source", masks=False)
    table = (folder / "refcoco.csv").rename(folder / "mine.csv")
    with pytest.raises(UsageError, match="has the splits train; expected train and at least one other"):
        import_data(Request(table, tmp_path / "root"), lambda done, total: None)
