"""Every form of a small release is imported with the masks, sentences and splits of the public layout."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from barbench.datasets.audit import verify
from barbench.datasets.importers.names import SourceFormat
from barbench.datasets.importers.source import Request, import_data, look
from barbench.datasets.pixels.images import decode_image
from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferData
from barbench.errors import BarbenchError, DataError, UsageError
from barbench.paper.partitions import PAPER_PARTITIONS
from tests.datasets.importers import forms
from tests.datasets.importers.release import Release

REFCOCO = PAPER_PARTITIONS.get("refcoco")
REPOSITORY = Path(__file__).parents[3]
Content = dict[tuple[str, str, int], np.ndarray]


@pytest.fixture(scope="module")
def release() -> Release:
    return Release()


@pytest.fixture(scope="module")
def public(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release.write(tmp_path_factory.mktemp("public") / "root")


def content(data: ReferData) -> Content:
    """The mask of every sentence, by split, text and image."""
    return {(r.split, s.text, r.image_id): data.mask(r.ann_id) for r in data.references for s in r.sentences}


def ask(source: Path, root: Path, **options: object) -> Request:
    return Request(source, root, **options)  # type: ignore[arg-type]


def run(request: Request) -> list[str]:
    return import_data(request, lambda done, total: None).notes


def archive(release: Release, folder: Path) -> Path:
    return release.write_zip(folder.with_suffix(".zip"))


Make = Callable[[Release, Path], Path]
MAKERS: dict[str, tuple[SourceFormat, Make]] = {
    "jxu124": ("parquet", forms.jxu),
    "lmms-lab": ("parquet", forms.lmms),
    "zip": ("zip", archive),
    "masks": ("masks", forms.mask_folders),
    "lmdb": ("lmdb", forms.lmdb_files),
    "mdetr": ("mdetr", forms.mdetr),
    "odvg": ("mdetr", lambda release, folder: forms.mdetr(release, folder, odvg=True)),
    "table of masks": ("table", lambda release, folder: forms.table(release, folder, masks=True)),
    "table of polygons": ("table", lambda release, folder: forms.table(release, folder, masks=False)),
}


def imported(name: str, release: Release, public: Path, folder: Path) -> Path:
    """The root that a form was imported into."""
    form, make = MAKERS[name]
    source = make(release, folder / "refcoco")
    assert look(source) is form
    instances = public / "refcoco/instances.json" if name in ("lmms-lab", "mdetr", "odvg") else None
    images = public / "images/train2014"
    root = folder / "root"
    run(ask(source, root, images=images, instances=instances))
    if form == "zip":
        (root / "images").mkdir()
        (root / "images/train2014").symlink_to(images)
    return root


@pytest.mark.parametrize("name", MAKERS)
def test_a_form_gives_the_masks_of_the_public_layout(name: str, release: Release, public: Path, tmp_path: Path) -> None:
    root = imported(name, release, public, tmp_path)
    data, due = read_refer(root, REFCOCO), content(read_refer(public, REFCOCO))
    found = content(data)
    assert found.keys() == due.keys()
    for key, mask in due.items():
        np.testing.assert_array_equal(found[key], mask, err_msg=str(key))
    assert len(data.references) == len(release.refs)
    assert not data.problems.found
    for info in data.images.values():
        np.testing.assert_array_equal(
            decode_image(info), decode_image(read_refer(public, REFCOCO).images[info.image_id])
        )
    report = verify(root, [REFCOCO], "real")
    assert report.ok
    assert not report.released


@pytest.mark.parametrize("name", ["jxu124", "masks", "lmdb", "lmms-lab"])
def test_ids_of_a_source_stay(name: str, release: Release, public: Path, tmp_path: Path) -> None:
    data = read_refer(imported(name, release, public, tmp_path), REFCOCO)
    if name != "lmms-lab":
        assert {r.ref_id for r in data.references} == {ref["ref_id"] for ref in release.refs}
    if name in ("jxu124", "lmms-lab"):
        assert {r.ann_id for r in data.references} == {ref["ann_id"] for ref in release.refs}
    if name in ("jxu124", "masks"):
        sentences = {s["sent_id"]: s["sent"] for ref in release.refs for s in ref["sentences"]}
        assert {s.sent_id: s.text for r in data.references for s in r.sentences} == sentences
    assert {r.image_id for r in data.references} == {image["id"] for image in release.images}


def test_lmms_lab_alone_has_one_part_of_an_object(release: Release, tmp_path: Path) -> None:
    run(ask(forms.lmms(release, tmp_path / "RefCOCO"), tmp_path / "root"))
    data = read_refer(tmp_path / "root", REFCOCO)
    alone = {ref["ann_id"]: len(annotation["segmentation"]) for ref, annotation, _ in release.rows()}
    assert set(alone.values()) == {1, 2}
    assert all(
        len(read["segmentation"]) == 1
        for read in json.loads((tmp_path / "root/refcoco/instances.json").read_text())["annotations"]
    )
    assert len(data.references) == len(alone)


def test_a_split_that_a_copy_mixes_is_told_by_its_counts(release: Release, tmp_path: Path) -> None:
    source = forms.lmms(release, tmp_path / "RefCOCO", {"val": "val", "testA": "test"})
    made = import_data(ask(source, tmp_path / "root"), lambda done, total: None)
    assert made.notes == ["test-00000-of-00001.parquet is left out: test is no split of refcoco"]
    counts = {count.split: count for count in made.counts}
    assert counts["val"].found.references == 4
    assert not counts["val"].as_released
    assert counts["testA"].found.references == 0


def test_values_of_pyarrow_serialize(tmp_path: Path) -> None:
    """What pyarrow 11 wrote for {"img": b"\\xff\\xd8", "seg_id": 7, "sents": ["a", "é"]}, in hexadecimal digits."""
    from barbench.datasets.importers.lmdb_store import decoded

    written = bytes.fromhex((Path(__file__).parent / "serialized.hex").read_text())
    assert decoded(written) == {"img": b"\xff\xd8", "seg_id": 7, "sents": ["a", "é"]}
    for broken in (b"", written[:40], b"nothing at all", b"\x80\x04N.", b"\x80\x02cos\nsystem\n."):
        with pytest.raises(ValueError, match=r"pyarrow|pickle|no dict"):
            decoded(broken)


def test_zips_in_zips_and_a_flat_one(release: Release, public: Path, tmp_path: Path) -> None:
    inner = release.write_zip(tmp_path / "refcoco.zip")
    outer = tmp_path / "all.zip"
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inner, "data/annotations.zip")
        for path in (public / "images/train2014").iterdir():
            archive.write(path, f"train2014/{path.name}")
        archive.writestr("__MACOSX/data/._annotations.zip", b"\x00")
        archive.writestr("../../escaped/refcoco+/instances.json", b"{}")
    root = tmp_path / "root"
    run(ask(outer, root))
    assert sorted(p.name for p in root.iterdir()) == ["images", "refcoco", "refcoco+"]
    assert content(read_refer(root, REFCOCO)).keys() == content(read_refer(public, REFCOCO)).keys()
    flat = tmp_path / "refcoco+.zip"
    with zipfile.ZipFile(inner) as archive, zipfile.ZipFile(flat, "w") as other:
        other.writestr("refs(unc).p", archive.read("refcoco/refs(unc).p"))
        other.writestr("instances.json", archive.read("refcoco/instances.json"))
    run(ask(flat, tmp_path / "flat"))
    assert (tmp_path / "flat/refcoco+/refs(unc).p").is_file()


def test_nothing_is_overwritten(release: Release, public: Path, tmp_path: Path) -> None:
    source, root = forms.jxu(release, tmp_path / "refcoco"), tmp_path / "root"
    request = ask(source, root, images=public / "images/train2014")
    run(request)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"refs\(unc\)\.p is there already"):
        run(request)
    (root / "refcoco/refs(unc).p").unlink()
    run(request)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    (root / "refcoco/refs(unc).p").unlink()
    other = json.loads((root / "refcoco/instances.json").read_text())
    other["annotations"][0]["segmentation"] = [[1, 1, 9, 1, 9, 9]]
    (root / "refcoco/instances.json").write_text(json.dumps(other))
    with pytest.raises(UsageError, match=r"instances\.json is there already without the annotation"):
        run(request)
    (root / "refcoco/instances.json").unlink()
    image = next((root / "images/train2014").iterdir())
    image.unlink()
    image.write_bytes(b"mine")
    with pytest.raises(DataError, match="holds another image"):
        run(request)
    assert image.read_bytes() == b"mine"


def test_an_interrupted_import_goes_on(release: Release, public: Path, tmp_path: Path) -> None:
    source, root = forms.lmms(release, tmp_path / "refcoco"), tmp_path / "root"
    calls: list[int] = []

    def stop(done: int, total: int) -> None:
        calls.append(total)
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_data(ask(source, root), stop)
    assert set(calls) == {len(release.refs)}
    assert not (root / "refcoco").exists()
    times = {path: path.stat().st_mtime_ns for path in (root / "images/train2014").iterdir()}
    assert times
    run(ask(source, root))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert len(read_refer(root, REFCOCO).references) == len(release.refs)


def test_images_are_linked_or_copied_never_touched(release: Release, public: Path, tmp_path: Path) -> None:
    images = public / "images/train2014"
    before = {path.name: path.read_bytes() for path in images.iterdir()}
    run(ask(forms.jxu(release, tmp_path / "refcoco"), tmp_path / "root", images=images))
    assert {path.name: path.read_bytes() for path in (tmp_path / "root/images/train2014").iterdir()} == before
    assert {path.name: path.read_bytes() for path in images.iterdir()} == before


def test_without_images_the_annotations_are_there_and_a_note(release: Release, tmp_path: Path) -> None:
    notes = run(ask(forms.jxu(release, tmp_path / "refcoco"), tmp_path / "root"))
    assert len(notes) == 1
    assert "12 images of refcoco are not in the source" in notes[0]
    assert (tmp_path / "root/refcoco/refs(unc).p").is_file()


def broken_mask(folder: Path) -> None:
    path = next((folder / "masks/refcoco").iterdir())
    path.write_bytes(b"<html>")


def small_mask(folder: Path) -> None:
    for path in (folder / "masks/refcoco").iterdir():
        cv2.imwrite(str(path), np.ones((5, 6), np.uint8))


def no_mask(folder: Path) -> None:
    for path in (folder / "masks/refcoco").iterdir():
        path.unlink()


def no_key(folder: Path) -> None:
    path = folder / "anns/refcoco/val.json"
    entries = json.loads(path.read_text())
    del entries[1]["sentences"][0]["sent"]
    path.write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("break_", "words"),
    [
        (broken_mask, r"the mask \d+\.png is no image"),
        (small_mask, "its mask has 6x5 pixels, COCO_train2014_.* has 96x72"),
        (no_mask, r"the mask .*\.png is not there"),
        (no_key, r"val\.json, entry 1: entry 0 of its sentences: it lacks the key 'sent'"),
    ],
)
def test_what_is_broken_is_named(break_: Callable[[Path], None], words: str, release: Release, tmp_path: Path) -> None:
    source = forms.mask_folders(release, tmp_path / "source")
    break_(source)
    with pytest.raises(BarbenchError, match=words):
        run(ask(source, tmp_path / "root"))
    assert not (tmp_path / "root/refcoco").exists()


def test_sources_that_are_none(release: Release, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        run(ask(tmp_path / "absent", tmp_path / "root"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="has none of the known formats"):
        run(ask(tmp_path / "empty", tmp_path / "root"))
    with pytest.raises(UsageError, match="is inside of"):
        run(ask(tmp_path / "empty", tmp_path / "empty/root"))
    bad = tmp_path / "refcoco.zip"
    bad.write_bytes(release.write_zip(tmp_path / "good.zip").read_bytes()[:-60])
    with pytest.raises(DataError, match="is not a zip that can be read"):
        run(ask(bad, tmp_path / "root", form="zip"))
    (tmp_path / "x.parquet").write_bytes(b"PAR1nothing")
    with pytest.raises(DataError, match="is not a Parquet file that can be read"):
        run(ask(tmp_path / "x.parquet", tmp_path / "root", dataset="refcoco"))
    with pytest.raises(UsageError, match="which data set is"):
        run(ask(tmp_path / "x.parquet", tmp_path / "root"))
    with pytest.raises(UsageError, match=r"has boxes and no masks.*--instances"):
        run(ask(forms.mdetr(release, tmp_path / "mdetr"), tmp_path / "root"))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, release: Release, tmp_path: Path) -> None:
    sources = {"barbench[parquet]": forms.jxu(release, tmp_path / "refcoco"),
               "barbench[lmdb]": forms.lmdb_files(release, tmp_path / "cris")}  # fmt: skip
    for name in ("pyarrow.parquet", "lmdb"):
        monkeypatch.setitem(sys.modules, name, None)
    for extra, source in sources.items():
        with pytest.raises(UsageError) as caught:
            run(ask(source, tmp_path / "root"))
        assert extra in str(caught.value)


def test_a_table_without_splits_and_with_label_images(tmp_path: Path) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    labels = np.zeros((40, 60), np.uint8)
    labels[5:20, 5:20], labels[5:20, 30:50] = 3, 7
    (tmp_path / "own").mkdir()
    rows = []
    for n in range(20):
        cv2.imwrite(str(tmp_path / f"own/{n}.webp"), pixels + n)
        rows += [{"image": f"{n}.webp", "expression": f"box {v}", "mask": "labels.png", "value": v} for v in (3, 7)]
    cv2.imwrite(str(tmp_path / "own/labels.png"), labels)
    (tmp_path / "own/refcoco.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run(ask(tmp_path / "own/refcoco.jsonl", tmp_path / "root"))
    data = read_refer(tmp_path / "root", REFCOCO)
    by_split = {split: {r.image_id for r in data.references if r.split == split} for split in ("train", "val")}
    assert all(by_split.values())
    assert not by_split["train"] & by_split["val"]
    assert {int(data.mask(r.ann_id).sum()) for r in data.references} == {15 * 15, 15 * 20}
    assert decode_image(data.images[1]).shape == (40, 60, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_an_import_trains_and_is_evaluated(name: str, release: Release, public: Path, tmp_path: Path) -> None:
    root = imported(name, release, public, tmp_path)
    command = [
        *(
            sys.executable,
            "-m",
            "barbench.cli",
            "run",
            "--methods",
            "head-only",
            "--backbone",
            "tiny",
            "--recipe",
            "demo",
        ),
        *("--split", "refcoco", "--set", "epochs=1", "--set", "batch=4", "--device", "cpu", "--data", str(root)),
        *("--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports"), "--cache", "off"),
    ]
    made = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    [record] = [json.loads(path.read_text()) for path in (tmp_path / "results").glob("*.json")]
    assert record["status"] == "done"
    due = {split: sum(len(r["sentences"]) for r in release.refs if r["split"] == split) for split in record["splits"]}
    assert {split: found["scores"]["n"] for split, found in record["splits"].items()} == due
