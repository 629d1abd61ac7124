"""Sets that are evaluated beside the release: each form is read with its own objects, splits and sentences."""

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from barbench.benchmarks.matrix import select
from barbench.commands.data_checks import audit_data, import_rows
from barbench.datasets.content import read_dataset
from barbench.datasets.importers.refcoco_m import read_images
from barbench.datasets.importers.source import Imported, Request, import_data, look
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.references import ReferData
from barbench.datasets.samples import EvalSamples
from barbench.datasets.tokens import Tokens
from barbench.errors import DataError, UsageError
from barbench.paper.partitions import EVALUATION_SETS, PARTITIONS, RELEASES
from barbench.spec.dataset import resolve_dataset
from barbench.spec.run import Run
from tests.datasets.importers import evaluation_sets as made
from tests.datasets.importers.release import HEIGHT, WIDTH, Release


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
    content = read_dataset(sources.root, resolve_dataset("refcoco-m", sources.root))
    assert content.train == ()
    assert len(content.evals["val"].references) == len(content.members[0].references) == 4
    asked = Run(methods=("head-only",), datasets=("refcoco-m",), data=str(sources.root), recipe="demo")
    with pytest.raises(UsageError, match="refcoco-m: nothing to train on"):
        select(asked)


@pytest.mark.parametrize("name", ["rrefcoco", "rrefcoco+", "rrefcocog"])
def test_r_refcoco_parts_what_is_there_from_what_is_not(name: str, sources: Sources, tmp_path: Path) -> None:
    source = made.r_refcoco(sources.refcoco, tmp_path, name)
    assert look(source) == "absent"
    [data] = run(source, sources.root).data
    assert data.partition.folder == name
    present = {r.ref_id: r for r in data.references if r.targets}
    absent = {r.group: r for r in data.references if not r.targets}
    masks = {a["id"]: made.drawn(a) for a in sources.refcoco.annotations}
    for ref in sources.refcoco.refs:
        if ref["split"] not in ("train", "val"):
            assert ref["ref_id"] not in present
            continue
        found = present.pop(ref["ref_id"])
        assert (found.group, found.targets) == (ref["ref_id"], (ref["ann_id"],))
        assert [(s.sent_id, s.text) for s in found.sentences] == [(s["sent_id"], s["sent"]) for s in ref["sentences"]]
        assert np.array_equal(data.mask(found.ann_id), masks[ref["ann_id"]])
        if ref["split"] == "val":
            other = absent.pop(ref["ref_id"])
            assert [s.text for s in other.sentences] == [f"the green dog {ref['ref_id']} {n}" for n in range(2)]
            assert not data.mask(other.ann_id).any()
            assert other.image_id == found.image_id
    assert not present
    assert not absent


def test_ref_zom_has_one_object_several_or_none(sources: Sources, tmp_path: Path) -> None:
    source = made.ref_zom(sources.refcoco, tmp_path)
    assert look(source) == "absent"
    [data] = run(source, tmp_path / "zom", images=tmp_path / "coco").data
    masks = {a["id"]: made.drawn(a) for a in sources.refcoco.annotations}
    refs = {ref["ref_id"]: ref for ref in sources.refcoco.refs}
    assert {r.ref_id for r in data.references} == refs.keys()
    for place, reference in enumerate(sorted(data.references, key=lambda r: r.ref_id)):
        ref = refs[reference.ref_id]
        both = [a["id"] for a in sources.refcoco.annotations if a["image_id"] == ref["image_id"]]
        meant = ([ref["ann_id"]], both, [])[place % 3]
        assert list(reference.targets) == meant
        expected = np.zeros_like(masks[both[0]])
        for ann_id in meant:
            expected |= masks[ann_id]
        assert np.array_equal(data.mask(reference.ann_id), expected)
        assert reference.image_id == ref["image_id"]
    folders = {data.images[r.image_id].path.name.split("_")[1] for r in data.references}
    assert folders == {"train2014", "val2014"}


def blank(sentences: list[str], length: int) -> torch.Tensor:
    return torch.zeros((len(sentences), length), dtype=torch.int64)


def test_groups_reach_the_columns(sources: Sources, tmp_path: Path) -> None:
    [data] = run(made.r_refcoco(sources.refcoco, tmp_path), sources.root).data
    samples = EvalSamples(data.split("val"), Letterbox(32), Tokens(blank, 22))
    metas = [samples.meta(index) for index in range(len(samples))]
    by_group: dict[int, list[int]] = {}
    for meta in metas:
        by_group.setdefault(meta.group, []).append(meta.targets)
    vals = {ref["ref_id"]: len(ref["sentences"]) for ref in sources.refcoco.refs if ref["split"] == "val"}
    assert {group: sorted(targets) for group, targets in by_group.items()} == {
        number: [0, 0] + [1] * count for number, count in vals.items()
    }


def test_refclef_has_numbers_for_text_and_one_mask_for_parts(sources: Sources, tmp_path: Path) -> None:
    source = made.refclef(sources.refcoco, tmp_path / "source")
    assert look(source) == "refclef"
    found = run(source, tmp_path / "refclef-root", images=tmp_path / "source/saiapr_tc-12")
    unc, berkeley = sorted(found.data, key=lambda data: data.partition.name)
    assert [unc.partition.name, berkeley.partition.name] == ["refclef", "refclef-berkeley"]
    masks = {ref["ref_id"]: made.drawn(annotation) for ref, annotation, _ in sources.refcoco.rows()}
    names = {}
    for data in (unc, berkeley):
        assert {r.ref_id for r in data.references} == masks.keys()
        for reference in data.references:
            assert np.array_equal(data.mask(reference.ann_id), masks[reference.ref_id])
            assert data.images[reference.image_id].path.is_file()
            assert reference.image_id > 2_000_000_000
        path = data.root / data.partition.folder / data.partition.instances_file
        kept = {a["id"]: a["source_id"] for a in json.loads(path.read_text())["annotations"]}
        names[data.partition.name] = kept
        assert [kept[number] for number in sorted(kept)] == sorted(kept.values())
    assert names["refclef"] == names["refclef-berkeley"]
    assert Counter(r.split for r in unc.references) == {"train": 12, "val": 4, "testA": 4, "testAB": 4}
    assert Counter(r.split for r in berkeley.references) == {"train": 12, "val": 4, "test": 8}
    assert "refclef val has 2 images, the release 2,000" in found.notes


def by_outline(instances: made.Polygons) -> np.ndarray:
    """Each polygon on its own canvas, then the union: whole corners, inside and outline."""
    found = np.zeros((HEIGHT, WIDTH), bool)
    for polygons in instances:
        for polygon in polygons:
            if len(polygon) >= 2:
                canvas = Image.new("1", (WIDTH, HEIGHT))
                ImageDraw.Draw(canvas).polygon([(int(x), int(y)) for x, y in polygon], outline=1, fill=1)
                found |= np.asarray(canvas)
    return found


def test_phrasecut_is_drawn_as_its_authors_draw(sources: Sources, tmp_path: Path) -> None:
    source = made.phrasecut(sources.refcoco, tmp_path / "VGPhraseCut_v0")
    assert look(source) == "phrasecut"
    found = run(source, tmp_path / "phrasecut-root", images=source / "images")
    [data] = found.data
    splits = ("train", "val", "test", "miniv")
    assert [(count.split, count.found.references) for count in found.counts] == [(split, 3) for split in splits]
    assert not any(count.as_released for count in found.counts)
    by_text = {reference.sentences[0].text: reference for reference in data.references}
    for _, phrase, polygons in made.PHRASES:
        for split in splits:
            reference = by_text[f"{phrase} of {split}"]
            assert reference.split == split
            assert np.array_equal(data.mask(reference.ann_id), by_outline(polygons))
    # The corners of a square of 16 x 21 pixels, both ends drawn, where COCO's rasteriser has 15 x 20.
    assert data.annotations[by_text["left box of val"].ann_id].area == 16 * 21
    ids = {reference.image_id for reference in data.references}
    assert {number for number in ids if number < 1_000_000_000} == {2_501, 2_511, 2_521, 2_531}
    assert len(ids) == 8
