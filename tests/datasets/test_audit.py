"""`verify` finds what was broken on purpose, and nothing else."""

import json
from pathlib import Path

import pytest

from barbench.datasets.audit import AuditReport, verify
from barbench.paper.partitions import PAPER_PARTITIONS, Counts, Partition
from tests.datasets.refer_folder import REFS, instances, python2


def failures(report: AuditReport) -> list[str]:
    return [f.text for f in report.findings if f.severity in ("failure", "difference")]


def sound(root: Path, splits: dict[int, str]) -> None:
    """Leaves only references without a problem, in the splits given by ref_id."""
    refs = [{**r, "split": splits[r["ref_id"]].encode()} for r in REFS if r["ref_id"] in splits]
    for ref in refs:
        ref["sentences"] = [s for s in ref["sentences"] if s["sent"].strip()]
    (root / "refcoco/refs(unc).p").write_bytes(python2(refs))


SOUND = {11: "train", 12: "train", 13: "train", 21: "val", 22: "val", 31: "testA", 41: "testB"}


def test_a_sound_folder_passes(root: Path, refcoco: Partition) -> None:
    sound(root, SOUND)
    seen: list[tuple[int, int]] = []
    report = verify(root, [refcoco], "shapes", lambda done, total: seen.append((done, total)))
    assert report.ok
    assert report.findings == ()
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [(r.split, r.found) for r in report.rows] == [
        ("train", Counts(3, 1, 6)),
        ("val", Counts(2, 1, 4)),
        ("testA", Counts(1, 1, 1)),
        ("testB", Counts(1, 1, 1)),
    ]


def test_real_data_must_have_the_published_size(root: Path, refcoco: Partition) -> None:
    sound(root, SOUND)
    report = verify(root, [refcoco], "real")
    assert report.ok
    assert not report.released
    assert "val has 2 references, the public release has 3,811" in failures(report)
    assert len(failures(report)) == 12
    assert report.rows[1].expected == Counts(3_811, 1_500, 10_834)


def test_uncertain_sentence_counts_only_warn(root: Path) -> None:
    partition = PAPER_PARTITIONS.get("refcocog-u")
    sound(root, {11: "train", 21: "val", 31: "test"})
    (root / "refcoco").rename(root / "refcocog")
    (root / "refcocog/refs(unc).p").rename(root / "refcocog" / partition.refs_file)
    report = verify(root, [partition], "real")
    assert len(failures(report)) == 6
    assert sum("sentences" in f.text for f in report.findings if f.severity == "warning") == 3


def test_ruled_problems_warn_in_real_data_and_fail_in_generated_data(root: Path, refcoco: Partition) -> None:
    generated, real = verify(root, [refcoco], "shapes"), verify(root, [refcoco], "real")
    assert any("empty mask: 1" in text for text in failures(generated))
    assert not any("empty mask: 1" in text for text in failures(real))
    assert any("empty mask: 1" in f.text for f in real.findings)
    assert real.rows[1].problems == ("reference without sentence: 1", "empty mask: 1")


@pytest.mark.parametrize("shared", ["refcoco", "refcocog-g"])
def test_leaks_fail_unless_the_partition_makes_them(root: Path, shared: str) -> None:
    partition = PAPER_PARTITIONS.get(shared)
    sound(root, {11: "train", 12: "val", 21: "val", 31: "testA", 41: "testB"})
    (root / "refcoco").rename(root / partition.folder)
    (root / partition.folder / "refs(unc).p").rename(root / partition.folder / partition.refs_file)
    report = verify(root, [partition], "shapes")
    (finding,) = report.findings
    assert finding.text.startswith("1 of 2 images of val are in train too")
    assert finding.severity == ("warning" if shared == "refcocog-g" else "failure")
    assert report.rows[1].shared_images == 1


def test_an_unreadable_image_is_named_and_the_rest_goes_on(root: Path, refcoco: Partition) -> None:
    sound(root, SOUND)
    for image_id in (1, 9):
        path = root / f"images/train2014/COCO_train2014_{image_id:012}.jpg"
        path.write_bytes(path.read_bytes()[:-50])
    report = verify(root, [refcoco], "shapes")
    assert [text.split(" is ")[0][-16:] for text in failures(report)] == ["000000000001.jpg", "000000000009.jpg"]
    assert report.images_opened == 4


def test_ids_that_occur_twice_fail(root: Path, refcoco: Partition) -> None:
    refs = [r for r in REFS if r["ref_id"] in SOUND]
    (root / "refcoco/refs(unc).p").write_bytes(python2([*refs, refs[0]]))
    texts = failures(verify(root, [refcoco], "shapes"))
    assert "1 reference ids occur twice, the first is 11" in texts
    assert "3 sentence ids occur twice, the first is 110" in texts


def test_a_mask_outside_its_image_is_found(root: Path, refcoco: Partition) -> None:
    sound(root, SOUND)
    value = instances()
    value["annotations"][0]["segmentation"] = [[30, 20, 60, 20, 60, 28]]
    (root / "refcoco/instances.json").write_text(json.dumps(value))
    assert failures(verify(root, [refcoco], "shapes")) == [
        "mask reaches outside its image: 1 (clipped to the image): annotation 101"
    ]


def test_a_missing_protocol_is_a_finding(root: Path, refcoco: Partition) -> None:
    sound(root, SOUND)
    report = verify(root, [PAPER_PARTITIONS.get("refcoco+"), refcoco], "shapes")
    (text,) = failures(report)
    assert "looked for" in text
    assert len(report.rows) == 4


def test_a_missing_split_fails(root: Path, refcoco: Partition) -> None:
    sound(root, {**SOUND, 31: "test"})
    assert failures(verify(root, [refcoco], "shapes")) == ["testA has no references"]


def test_images_open_in_threads_and_each_bad_one_is_named_once(root: Path, refcoco: Partition) -> None:
    sound(root, SOUND)
    for image in (1, 3):
        path = next(root.rglob(f"COCO_train2014_{image:012}.jpg"))
        path.write_bytes(path.read_bytes()[:200])
    seen: list[tuple[int, int]] = []
    report = verify(root, [refcoco], "shapes", lambda done, total: seen.append((done, total)))
    assert [f"{image:012}" in text for image, text in zip((1, 3), failures(report), strict=True)] == [True, True]
    assert report.images_opened == 4
    assert seen == [(n, 4) for n in range(1, 5)]


def test_one_picture_under_two_ids_in_train_and_evaluation(root: Path, refcoco: Partition) -> None:
    sound(root, SOUND)
    train, tested = (next(root.rglob(f"*00000{i}.jpg")) for i in (1, 3))
    tested.write_bytes(train.read_bytes())
    report = verify(root, [refcoco], "shapes")
    assert [f.text for f in report.findings] == [
        f"1 images that are evaluated have the pixels of one in train, under another id: {tested.name} is {train.name}"
    ]
    assert report.findings[0].severity == "warning"
