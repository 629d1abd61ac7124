"""Sets that are evaluated beside the release: each form is read with its own objects, splits and sentences."""

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from barbench.commands.data_checks import audit_data, import_rows
from barbench.datasets.content import read_dataset
from barbench.datasets.importers.refcoco_m import read_images
from barbench.datasets.importers.source import Imported, Request, import_data, look
from barbench.datasets.references import ReferData
from barbench.errors import DataError, UsageError
from barbench.paper.partitions import EVALUATION_SETS, PARTITIONS, RELEASES
from barbench.spec.dataset import resolve_dataset
from tests.datasets.importers import evaluation_sets as made
from tests.datasets.importers.release import Release


class Sources(NamedTuple):
    """A root with the two releases, and these."""

    root: Path
    refcoco: Release
    gref: Release


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    root = tmp_path / "root"
    return Sources(root, *made.write_root(root))


def run(source: Path, root: Path, **options: object) -> Imported:
    return import_data(Request(source, root, **options), lambda done, total: None)  # type: ignore[arg-type]


def texts(data: ReferData, split: str) -> Counter[str]:
    return Counter(s.text for r in data.references if r.split == split for s in r.sentences)


def test_counts_are_those_of_cards_and_papers() -> None:
    counts = {(p.name, split): tuple(count) for p in EVALUATION_SETS for split, count in p.counts.items()}
    assert counts == {
        ("refcoco-m", "val"): (2_080, 1_190, 5_598),
        ("arefcoco", "train"): (41_417, 18_496, 110_818),
        ("arefcoco", "test"): (4_112, 2_213, 7_050),
        ("refcocog-adv", "test"): (3_704, 976, 3_704),
        ("phrasecut", "train"): (310_816, 71_746, 310_816),
        ("phrasecut", "val"): (20_316, 2_971, 20_316),
        ("phrasecut", "test"): (14_354, 2_545, 14_354),
        ("phrasecut", "miniv"): (821, 100, 821),
    }
    assert set(PARTITIONS.names()) == {*RELEASES.names(), *EVALUATION_SETS.names()}
    files = [(p.folder, p.refs_file) for p in PARTITIONS]
    assert len(set(files)) == len(files)


def test_refcoco_m_has_the_new_masks(sources: Sources, tmp_path: Path) -> None:
    source = made.refcoco_m(sources.refcoco, tmp_path / "refcoco-m")
    assert look(source) == "parquet"
    found = run(source, tmp_path / "alone")
    [data] = found.data
    val = [(ref, annotation) for ref, annotation, _ in sources.refcoco.rows() if ref["split"] == "val"]
    assert len(data.references) == len(val) == 4
    by_id = {reference.ann_id: reference for reference in data.references}
    for ref, annotation in val:
        reference = by_id[7_000 + ref["ref_id"]]
        assert reference.image_id == ref["image_id"]
        assert reference.category == ("person" if ref["category_id"] == 1 else "dog")
        assert [s.text for s in reference.sentences] == [s["sent"] for s in ref["sentences"]]
        assert np.array_equal(data.mask(reference.ann_id), made.eroded(annotation))
        assert data.annotations[reference.ann_id].area < made.drawn(annotation).sum()
    assert [(count.split, count.expected) for count in found.counts] == [("val", (2_080, 1_190, 5_598))]
    assert not found.counts[0].as_released
    images = (tmp_path / "alone/images/train2014").iterdir()
    assert {path.name for path in images} == {data.images[r.image_id].path.name for r in data.references}


def test_refcoco_m_beside_the_release_keeps_its_images(sources: Sources, tmp_path: Path) -> None:
    source = made.refcoco_m(sources.refcoco, tmp_path / "refcoco-m")
    before = {path: path.read_bytes() for path in (sources.root / "images/train2014").iterdir()}
    found = run(source, sources.root)
    assert {path: path.read_bytes() for path in (sources.root / "images/train2014").iterdir()} == before
    assert not any("not in the source" in note for note in found.notes)


def test_the_new_masks_can_be_read_alone(sources: Sources, tmp_path: Path) -> None:
    source = made.refcoco_m(sources.refcoco, tmp_path / "refcoco-m")
    images = [image for path in sorted(source.rglob("*.parquet")) for image in read_images(path)]
    found = {mask.id: (image.image_id, mask) for image in images for mask in image.masks}
    for ref, annotation, _ in sources.refcoco.rows():
        if ref["split"] == "val":
            image_id, mask = found.pop(7_000 + ref["ref_id"])
            assert image_id == ref["image_id"]
            assert mask.box == pytest.approx(annotation["bbox"])
            assert np.array_equal(mask.rle.decode(), made.eroded(annotation))
    assert not found
    with pytest.raises(UsageError, match="which data set"):
        run(made.refcoco_m(sources.refcoco, tmp_path / "unnamed"), tmp_path / "other")
    with pytest.raises(DataError, match="no file of refcoco:"):
        run(tmp_path / "unnamed", tmp_path / "other", dataset="refcoco")


def test_arefcoco_joins_two_releases(sources: Sources, tmp_path: Path) -> None:
    source = made.arefcoco(sources.refcoco, sources.gref, tmp_path / "source")
    assert look(source.parent) == "arefcoco"
    found = run(source, sources.root)
    [data] = found.data
    assert not any("not in the source" in note for note in found.notes)
    annotations = {a["id"]: a for a in (*sources.refcoco.annotations, *sources.gref.annotations)}
    assert len(data.references) == len(sources.refcoco.refs) + len(sources.gref.refs)
    for reference in data.references:
        annotation = annotations[reference.ann_id]
        assert reference.image_id == annotation["image_id"]
        assert np.array_equal(data.mask(reference.ann_id), made.drawn(annotation))
        assert reference.category == ("person" if annotation["category_id"] == 1 else "dog")
    raw = json.loads(source.read_text())["annotations"]
    for split in ("train", "test"):
        expected = Counter(text for entry in raw if entry["split"] == split for text in entry["descriptions"])
        assert texts(data, split) == expected


def test_the_audit_counts_images_that_other_data_sets_train_on(sources: Sources, tmp_path: Path) -> None:
    run(made.arefcoco(sources.refcoco, sources.gref, tmp_path / "source"), sources.root)
    rows = {row["trained on"]: row for row in audit_data(str(sources.root)).rows}
    raw = json.loads((tmp_path / "source/arefcoco.json").read_text())["annotations"]
    tested = {entry["ref_id"] for entry in raw if entry["split"] == "test" and entry["original_dataset"] == "refcoco"}
    refs = sources.refcoco.refs
    images = {ref["image_id"] for ref in refs if ref["ref_id"] in tested}
    trained = {ref["image_id"] for ref in refs if ref["split"] == "train"}
    shown = rows["refcoco"]["arefcoco"]
    assert isinstance(shown, dict)
    assert shown["test"] == len(images & trained) > 0


def test_an_object_that_the_root_lacks_is_named(sources: Sources, tmp_path: Path) -> None:
    source = made.arefcoco(sources.refcoco, sources.gref, tmp_path / "source")
    source.write_text(source.read_text().replace('"ref_id": 301', '"ref_id": 999301'))
    with pytest.raises(DataError, match=r"annotation 0: .* has no reference 999301 of refcoco"):
        run(source, sources.root)
    assert not (sources.root / "arefcoco").exists()


def test_each_text_of_refcocog_adv_is_a_split(sources: Sources, tmp_path: Path) -> None:
    source = made.adversarial(sources.gref, tmp_path / "source")
    assert look(source) == "refcocog-adv"
    found = run(source, sources.root)
    [data] = found.data
    raw = list(json.loads(source.read_text()).values())
    for split, field in (("test", "raw_str"), *((name, name) for name in ("shuffle", "noun", "adj", "adj_noun"))):
        assert texts(data, split) == Counter(entry[field] for entry in raw if entry[field])
    masks = {a["id"]: made.drawn(a) for a in sources.gref.annotations}
    for reference in data.references:
        assert np.array_equal(data.mask(reference.ann_id), masks[reference.ann_id])
    assert "1 sentences of adj are empty and left out" in found.notes
    assert {count.split: count.found.references for count in found.counts} == {
        **dict.fromkeys(("test", "shuffle", "noun", "adj_noun", "noun_adj"), len(raw)), "adj": len(raw) - 1,
    }  # fmt: skip


def test_ids_that_contradict_the_release_are_refused(sources: Sources, tmp_path: Path) -> None:
    source = made.adversarial(sources.gref, tmp_path / "source")
    first = json.loads(source.read_text())["0"]
    source.write_text(source.read_text().replace(f'"annID": "{first["annID"]}"', '"annID": "1"', 1))
    with pytest.raises(DataError, match="'annID' is 1, and reference"):
        run(source, sources.root)


def test_a_set_without_training_says_so(sources: Sources, tmp_path: Path) -> None:
    rows, _ = import_rows(Request(made.refcoco_m(sources.refcoco, tmp_path / "refcoco-m"), sources.root))
    assert [row["split"] for row in rows] == ["refcoco-m val"]
    with pytest.raises(UsageError, match="refcoco-m has no training split"):
        read_dataset(sources.root, resolve_dataset("refcoco-m", sources.root))
