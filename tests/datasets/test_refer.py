"""The reader against a folder written by hand."""

import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from barbench.datasets.audit import verify
from barbench.datasets.pixels.images import ImageInfo, decode_image
from barbench.datasets.refer import read_refer
from barbench.errors import DataError, MissingData
from barbench.paper.partitions import PAPER_PARTITIONS, Partition
from tests.datasets.importers.release import Release
from tests.datasets.refer_folder import HEIGHT, MASKS, REFS, WIDTH, box, box_mask, pixels, python2, write_folder

Edit = Callable[[Callable[[dict[str, Any]], object]], None]


def test_references_sentences_and_text(root: Path, refcoco: Partition) -> None:
    data = read_refer(root, refcoco)
    assert [r.ref_id for r in data.references] == [11, 12, 13, 91, 21, 22, 31, 41]
    assert [r.ref_id for r in data.split("val").references] == [91, 21, 22]
    by_id = {r.ref_id: r for r in data.references}
    assert [s.text for s in by_id[21].sentences] == ["café", "naïve man", "日本 sign"]
    assert [s.text for s in by_id[12].sentences] == ["tiny one", "thin bar"]
    assert [s.sent_id for s in by_id[11].sentences] == [110, 111, 112]
    assert by_id[11].category == "person"


def test_problems_are_counted_and_named(root: Path, refcoco: Partition) -> None:
    problems = read_refer(root, refcoco).problems
    assert {kind: list(places) for kind, places in problems.found.items()} == {
        "reference without annotation": ["train reference 90"],
        "reference without sentence": ["val reference 92"],
        "reference whose annotation is of another image": ["train reference 93"],
        "sentence without words": ["train sentence 131"],
        "empty mask": ["val reference 91"],
    }
    assert set(problems.counts().values()) == {1}
    assert "empty mask: 1 (kept in evaluation (scores 0), left out of training): val reference 91" in problems.lines()
    with pytest.raises(ValueError, match="no rule"):
        problems.note("odd", "here")


def test_masks_are_the_drawn_ones(root: Path, refcoco: Partition) -> None:
    data = read_refer(root, refcoco)
    for reference in data.references:
        np.testing.assert_array_equal(data.mask(reference.ann_id), MASKS[reference.ann_id])
        assert data.annotations[reference.ann_id].area == MASKS[reference.ann_id].sum()


def test_images_are_found_in_both_places_by_image_id(root: Path, refcoco: Partition) -> None:
    images = read_refer(root, refcoco).images
    assert {i: info.path.relative_to(root).parent.as_posix() for i, info in images.items()} == {
        1: "images/train2014",
        9: "images/train2014",
        3: "images/mscoco/images/train2014",
        4: "images/mscoco/images/train2014",
    }
    assert images[9].path.name == "COCO_train2014_000000000009.jpg"


def test_images_decode_to_rgb(root: Path, refcoco: Partition) -> None:
    images = read_refer(root, refcoco).images
    colour, gray = decode_image(images[1]), decode_image(images[9])
    assert colour.shape == gray.shape == (HEIGHT, WIDTH, 3)
    assert colour.dtype == gray.dtype == np.uint8
    assert np.abs(colour.astype(int) - pixels(1)[..., ::-1]).mean() < 6, "JPEG is lossy, but channels are in order"
    assert (gray == gray[..., :1]).all()


def test_exif_rotation_is_ignored(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", pixels(1))[1].tobytes()
    tiff = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    app1 = b"Exif\x00\x00" + tiff  # orientation 6: to be shown turned by 90 degrees
    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(app1) + 2).to_bytes(2) + app1 + jpeg[2:])
    assert cv2.imread(str(path)).shape[:2] == (WIDTH, HEIGHT), "the fixture is turned"
    assert decode_image(ImageInfo(1, path, WIDTH, HEIGHT)).shape[:2] == (HEIGHT, WIDTH)


@pytest.mark.parametrize("kept", [0, 10, 0.3, 0.6, 0.95, -2])
def test_a_truncated_image_is_named(root: Path, refcoco: Partition, kept: float) -> None:
    info = read_refer(root, refcoco).images[1]
    content = info.path.read_bytes()
    info.path.write_bytes(content[: int(kept * len(content)) if 0 < kept < 1 else int(kept)])
    with pytest.raises(DataError, match=r"COCO_train2014_000000000001.jpg"):
        decode_image(info)


def test_other_unusable_images_are_named(root: Path, refcoco: Partition) -> None:
    info = read_refer(root, refcoco).images[1]
    cv2.imwrite(str(info.path), pixels(1)[:-1])
    with pytest.raises(DataError, match=r"000000000001.jpg has 40x29 pixels, instances.json says 40x30"):
        decode_image(info)
    info.path.write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=r"000000000001.jpg is not a readable image"):
        decode_image(info)
    info.path.unlink()
    with pytest.raises(DataError, match=r"000000000001.jpg cannot be read: No such file"):
        decode_image(info)


@pytest.mark.parametrize("name", ["refs(unc).p", "instances.json"])
def test_a_missing_file_is_named_with_the_layout(root: Path, refcoco: Partition, name: str) -> None:
    (root / "refcoco" / name).unlink()
    with pytest.raises(MissingData) as caught:
        read_refer(root, refcoco)
    assert caught.value.exit_code == 2
    assert str(root / "refcoco" / name) in str(caught.value)
    assert "images/train2014/" in str(caught.value)


def test_missing_images_are_counted(root: Path, refcoco: Partition) -> None:
    for path in root.rglob("*.jpg"):
        if "0003" in path.name or "0004" in path.name:
            path.unlink()
    with pytest.raises(MissingData, match=r"2 of 4 images are missing, the first is COCO_train2014_000000000003.jpg"):
        read_refer(root, refcoco)


def test_an_image_without_entry_leaves_its_references_out(root: Path, refcoco: Partition, edit: Edit) -> None:
    edit(lambda v: v["images"].pop())
    data = read_refer(root, refcoco)
    assert list(data.problems.found["reference without image entry"]) == ["testB reference 41"]
    with pytest.raises(DataError, match=r"no references of split 'testB'; it holds testA, train, val"):
        data.split("testB")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.pop("images"), "lacks the key 'images'"),
        (lambda v: v["images"][0].pop("width"), "image 1: it lacks the key 'width'"),
        (lambda v: v["annotations"][0].pop("segmentation"), "annotation 101: it lacks the key 'segmentation'"),
        (
            lambda v: v["annotations"][1]["segmentation"].update(counts="5"),
            "annotation 102: 'segmentation': its RLE's runs sum to 5",
        ),
        (lambda v: v["annotations"].append(v["annotations"][0]), "1 ids occur twice among its annotations.*101"),
    ],
)
def test_broken_instances_are_named(
    root: Path, refcoco: Partition, edit: Edit, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    edit(change)
    with pytest.raises(DataError, match=rf"instances\.json.*{words}"):
        read_refer(root, refcoco)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe"])
def test_unreadable_instances_are_named(root: Path, refcoco: Partition, content: bytes) -> None:
    (root / "refcoco/instances.json").write_bytes(content)
    with pytest.raises(DataError, match=r"instances\.json is not a COCO instances file"):
        read_refer(root, refcoco)


@pytest.mark.parametrize("value", [{}, [1], 5, [{"ref_id": 1}], [{**REFS[0], "sentences": 5}]])
def test_a_pickle_of_something_else_is_named(root: Path, refcoco: Partition, value: Any) -> None:
    (root / "refcoco/refs(unc).p").write_bytes(python2(value))
    with pytest.raises(DataError, match=r"refs\(unc\)\.p"):
        read_refer(root, refcoco)


def write_release(root: Path, references: int, images: int) -> None:
    """A folder of the real release's size; its images are empty files, because the index does not open them."""
    folder = root / "images/train2014"
    folder.mkdir(parents=True)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ring = np.stack([320 + 90 * np.cos(angle), 240 + 90 * np.sin(angle)], 1).ravel().round(2).tolist()
    entries = [
        {"id": i, "file_name": f"COCO_train2014_{i:012}.jpg", "width": 640, "height": 480} for i in range(images)
    ]
    for entry in entries:
        (folder / entry["file_name"]).touch()
    refs = [
        {
            "ref_id": i,
            "ann_id": i,
            "image_id": i % images,
            "category_id": 1,
            "split": "train",
            "sentences": [{"sent_id": 3 * i + j, "sent": f"the man number {j} of {i}"} for j in range(3)],
        }
        for i in range(references)
    ]
    annotations = [
        {"id": i, "image_id": i % images, "category_id": 1, "segmentation": [ring]} for i in range(references)
    ]
    (root / "refcoco").mkdir()
    (root / "refcoco/refs(unc).p").write_bytes(pickle.dumps(refs, 2))
    value = {"images": entries, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (root / "refcoco/instances.json").write_text(json.dumps(value))


@pytest.mark.slow
def test_the_real_size_is_indexed_in_seconds(tmp_path: Path) -> None:
    write_release(tmp_path, references=42_404, images=16_994)
    start = time.process_time()
    data = read_refer(tmp_path, PAPER_PARTITIONS.get("refcoco"))
    assert len(data.split("train").references) == 42_404
    assert len(data.images) == 16_994
    assert time.process_time() - start < 20, "a few seconds on a free core"


def test_ids_as_text_are_ids_in_every_table(root: Path, refcoco: Partition) -> None:
    before = read_refer(root, refcoco)
    path = root / refcoco.folder / "instances.json"
    raw = json.loads(path.read_text())
    for entry in raw["annotations"]:
        entry["id"], entry["image_id"] = str(entry["id"]), str(entry["image_id"])
    for entry in raw["images"]:
        entry["id"] = str(entry["id"])
    path.write_text(json.dumps(raw))
    after = read_refer(root, refcoco)
    assert after.references == before.references
    assert after.problems.found == before.problems.found


def annotation(value: dict[str, Any], number: int) -> dict[str, Any]:
    [found] = [entry for entry in value["annotations"] if entry["id"] == number]
    return found


@pytest.mark.parametrize("change", [lambda entry: entry.pop("image_id"), lambda entry: entry.update(image_id=None)])
def test_an_annotation_without_image_id_is_named_as_missing(
    root: Path, refcoco: Partition, edit: Edit, change: Callable[[dict[str, Any]], object]
) -> None:
    edit(lambda value: change(annotation(value, 108)))
    problems = read_refer(root, refcoco).problems
    assert list(problems.found["reference whose annotation has no image_id"]) == ["testB reference 41"]
    assert list(problems.found["reference whose annotation is of another image"]) == ["train reference 93"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value.pop("images"), "it lacks the key 'images'"),
        (lambda value: value.pop("annotations"), "it lacks the key 'annotations'"),
        (lambda value: value.update(annotations=None), "'annotations': null is not a list"),
        (lambda value: value.update(categories=None), "'categories': null is not a list"),
        (lambda value: value["annotations"][2].pop("id"), "entry 2 of its annotations: it lacks the key 'id'"),
        (lambda value: value["images"][1].pop("id"), "entry 1 of its images: it lacks the key 'id'"),
        (lambda value: value["images"][0].pop("width"), "image 1: it lacks the key 'width'"),
        (lambda value: value["images"][0].pop("file_name"), "image 1: it lacks the key 'file_name'"),
        (lambda value: annotation(value, 101).pop("segmentation"), "annotation 101: it lacks the key 'segmentation'"),
        (lambda value: value["categories"][0].pop("name"), "entry 0 of its categories: it lacks the key 'name'"),
    ],
)
def test_whatever_is_missing_in_instances_is_named(
    root: Path, refcoco: Partition, edit: Edit, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    edit(change)
    with pytest.raises(DataError, match=rf"instances\.json.*{words}"):
        read_refer(root, refcoco)


@pytest.mark.parametrize("key", ["ref_id", "ann_id", "image_id", "category_id", "split", "sentences"])
def test_whatever_is_missing_in_a_reference_is_named(root: Path, refcoco: Partition, key: str) -> None:
    refs = [dict(ref) for ref in REFS]
    del refs[4][key]
    (root / "refcoco/refs(unc).p").write_bytes(python2(refs))
    with pytest.raises(DataError, match=rf"entry 4 of its references: it lacks the key '{key}'"):
        read_refer(root, refcoco)


def test_polygons_of_points_are_read(root: Path, refcoco: Partition, edit: Edit) -> None:
    """As labelme writes them; 108 is one polygon, 101 two."""
    before = read_refer(root, refcoco)

    def as_points(value: dict[str, Any]) -> None:
        for number in (101, 108):
            entry = annotation(value, number)
            polygons = [[flat[i : i + 2] for i in range(0, len(flat), 2)] for flat in entry["segmentation"]]
            entry["segmentation"] = polygons[0] if number == 108 else polygons

    edit(as_points)
    after = read_refer(root, refcoco)
    for number in (101, 108):
        np.testing.assert_array_equal(after.mask(number), before.mask(number))


@pytest.mark.parametrize(
    ("polygons", "words"),
    [
        ([[5, 5], [25, 5, 25, 30, 5, 30]], "has two numbers, which are a point and no polygon"),
        ([[5, 5], [25, 5]], "its polygon has 2 points"),
    ],
)
def test_points_that_are_no_polygon_are_refused(
    root: Path, refcoco: Partition, edit: Edit, polygons: list[Any], words: str
) -> None:
    edit(lambda value: annotation(value, 104).update(segmentation=polygons))
    with pytest.raises(DataError, match=rf"annotation 104: 'segmentation': .*{words}"):
        read_refer(root, refcoco)


def test_shares_of_the_image_are_a_failure_of_the_data(root: Path, refcoco: Partition, edit: Edit) -> None:
    edit(lambda value: annotation(value, 104).update(segmentation=[[0.1, 0.1, 0.5, 0.1, 0.5, 0.6]]))
    assert list(read_refer(root, refcoco).problems.found["polygon between 0 and 1"]) == ["annotation 104"]
    findings = [f for f in verify(root, [refcoco], "real").findings if "between 0 and 1" in f.text]
    assert [finding.severity for finding in findings] == ["failure"]


@pytest.mark.parametrize(
    ("key", "value", "in_sentence"),
    [("exist", False, True), ("exist", 0, True), ("source", "zero", False), ("no_target", True, False)],
)
def test_absent_targets_in_a_file_of_present_ones_are_refused(
    root: Path, refcoco: Partition, key: str, value: Any, in_sentence: bool
) -> None:
    """R-RefCOCO's `exist`, Ref-ZOM's `source`: their negatives would be scored as positives."""
    ref = json.loads(json.dumps({**Release().refs[0], "ref_id": 1, "ann_id": 101, "image_id": 1}))
    (ref["sentences"][0] if in_sentence else ref)[key] = value
    (root / "refcoco/refs(unc).p").write_bytes(pickle.dumps([ref], 2))
    with pytest.raises(DataError, match=rf"refs\(unc\)\.p.*entry 0 of its references: '{key}' is .* means nothing"):
        read_refer(root, refcoco)


def test_references_may_be_json_too(root: Path, refcoco: Partition) -> None:
    pickled = root / "refcoco/refs(unc).p"
    before = read_refer(root, refcoco).references
    pickled.with_suffix(".json").write_text(json.dumps(pickle.loads(pickled.read_bytes(), encoding="latin1")))
    pickled.unlink()
    assert read_refer(root, refcoco).references == before


def test_all_annotations_of_an_image_that_is_evaluated_are_kept(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    path = root / "refcoco/instances.json"
    raw = json.loads(path.read_text())
    more = [
        {"id": 201, "image_id": 9, "category_id": 2, "iscrowd": 0, "segmentation": [box(1, 1, 4, 4)]},
        {"id": 202, "image_id": 9, "category_id": 1, "iscrowd": 1, "segmentation": [box(9, 9, 4, 4)]},
        {"id": 203, "image_id": 9, "category_id": 1, "iscrowd": 0, "segmentation": [[1.0, float("inf")]]},
        {"id": 204, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [box(1, 1, 4, 4)]},
    ]
    raw["annotations"] += more
    raw["categories"].append({"id": 2, "name": "hat"})
    path.write_text(json.dumps(raw))
    data = read_refer(root, PAPER_PARTITIONS.get("refcoco"))
    assert data.everything == {9: (104, 105, 106, 201, 202), 3: (107,), 4: (108,)}
    assert np.array_equal(data.mask(201), box_mask((1, 1, 4, 4)))
    assert (data.annotations[201].category_id, data.annotations[201].crowd) == (2, False)
    assert (data.annotations[202].category_id, data.annotations[202].crowd) == (1, True)
    assert data.categories == {1: "person", 2: "hat"}
    assert 204 not in data.annotations, "image 1 is only trained on"
    assert data.problems.counts()["annotation of no reference that cannot be read"] == 1
    assert data.images.keys() == {1, 9, 3, 4}
