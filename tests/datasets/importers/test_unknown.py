"""Sources that cannot be read: what they are, and what would be right."""

import gzip
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from barbench.errors import BarbenchError, UsageError
from tests.datasets.importers import forms
from tests.datasets.importers.release import Release
from tests.datasets.importers.small_table import imported, references, rows, write_csv


def workbook(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "mine.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return folder / "mine.xlsx"


def old_workbook(folder: Path) -> Path:
    (folder / "mine.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    return folder / "mine.xls"


def tar(folder: Path) -> Path:
    with tarfile.open(folder / "refcoco.tar", "w") as archive:
        archive.add(__file__, "refcoco/x.py")
    return folder / "refcoco.tar"


def packed(folder: Path) -> Path:
    (folder / "mine.csv.gz").write_bytes(gzip.compress(b"image,expression"))
    return folder / "mine.csv.gz"


def pointer(folder: Path) -> Path:
    (folder / "refcocog").mkdir()
    (folder / "refcocog/train-00000-of-00001.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    return folder / "refcocog"


def page(folder: Path) -> Path:
    (folder / "refcoco.zip").write_text("<!DOCTYPE html><html>404</html>")
    return folder / "refcoco.zip"


def empty(folder: Path) -> Path:
    (folder / "mine.csv").write_text("")
    return folder / "mine.csv"


def semicolon(folder: Path) -> Path:
    return write_csv(folder / "mine.csv", rows(folder), ";")


def folder_of_text(folder: Path) -> Path:
    (folder / "labels").mkdir()
    for number in range(3):
        (folder / f"labels/{number}.txt").write_text("0 0.5 0.5 0.1 0.1")
    return folder / "labels"


def spaces(folder: Path) -> Path:
    return write_csv(folder / "My data (2).csv", rows(folder))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (workbook, r"mine\.xlsx is a workbook of Excel or LibreOffice: save it as CSV"),
        (old_workbook, r"mine\.xls is an Excel workbook of the old kind: save it as CSV"),
        (tar, r"refcoco\.tar is a tar archive: unpack it first"),
        (packed, r"mine\.csv\.gz is compressed with gzip .*: unpack it first"),
        (pointer, r"train-00000-of-00001\.parquet is a Git LFS pointer.*git lfs pull"),
        (page, r"refcoco\.zip is a web page"),
        (empty, r"mine\.csv is an empty file"),
        (semicolon, r"mine\.csv has one column, image;.*a semicolon seems to part its fields"),
        (folder_of_text, r"labels has none of the known formats: it holds 3 \.txt; the known forms are zip"),
        (spaces, r"'My data \(2\)' cannot be the name .*Name it with --dataset"),
    ],
)
def test_what_cannot_be_read_is_named(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        imported(make(tmp_path))
    assert caught.value.exit_code == 2


def test_a_folder_of_splits_is_one_data_set(tmp_path: Path) -> None:
    made = rows(tmp_path)
    for row in made:
        del row["split"]
        row["image"] = f"../{row['image']}"
    write_csv(tmp_path / "two/train.csv", made[:1])
    write_csv(tmp_path / "two/validation.csv", made[1:])
    imported(tmp_path / "two")
    assert [ref["split"] for ref in references(tmp_path / "two", "two")] == ["train", "val", "val"]


def test_a_table_of_one_split_says_how_several_are_one(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "mine.csv", rows(tmp_path, split="train"))
    with pytest.raises(UsageError, match=r"has the splits train; expected train and at least one other.*train\.csv"):
        imported(source)


def test_a_table_beside_others_is_not_left_out_without_a_word(tmp_path: Path) -> None:
    made = [{**row, "image": f"../{row['image']}"} for row in rows(tmp_path)]
    write_csv(tmp_path / "source/mine.csv", made)
    write_csv(tmp_path / "source/more.csv", made, ";")
    notes = imported(tmp_path / "source").notes
    assert any(note.startswith("left out: ") and "more.csv has one column" in note for note in notes)


def zipped(path: Path, names: dict[str, str], release: Release) -> Path:
    inner = release.write_zip(path.with_suffix(".inner"))
    with zipfile.ZipFile(inner) as source, zipfile.ZipFile(path, "w") as archive:
        for name, target in names.items():
            archive.writestr(target, source.read(f"refcoco/{name}"))
    return path


def test_zips_whose_files_have_no_place(tmp_path: Path) -> None:
    release = Release()
    refs, instances = "refs(unc).p", "instances.json"
    other = zipped(tmp_path / "refclef.zip", {refs: f"refclef/{refs}", instances: f"refclef/{instances}"}, release)
    with pytest.raises(UsageError, match=r"RefCLEF is no part of the release \(refcoco, "):
        imported(other)
    renamed = zipped(tmp_path / "a.zip", {refs: "refcoco/refs(unc) (1).p", instances: f"refcoco/{instances}"}, release)
    with pytest.raises(UsageError, match=r"'refs\(unc\) \(1\)\.p' is no name of the release; rename it"):
        imported(renamed)
    flat = zipped(tmp_path / "data.zip", {refs: refs, instances: instances}, release)
    with pytest.raises(UsageError, match=r"no folder on its path says which data set it is of .*--dataset"):
        imported(flat)
    assert [count.found.references for count in imported(flat, dataset="refcoco").counts] == [12, 4, 4, 4]
    (tmp_path / "again").mkdir()
    second = zipped(tmp_path / "again/refcoco (1).zip", {refs: refs, instances: instances}, release)
    assert [count.found.references for count in imported(second).counts] == [12, 4, 4, 4]


def test_two_files_of_one_place_and_size_are_compared(tmp_path: Path) -> None:
    release = Release()
    release.write_zip(tmp_path / "refcoco.zip")
    with zipfile.ZipFile(tmp_path / "refcoco.zip", "a") as archive:
        for folder, content in (("a", b"one"), ("b", b"two")):
            archive.writestr(f"{folder}/COCO_train2014_000000001000.jpg", content)
    with pytest.raises(UsageError, match=r"holds two files that differ as .*000000001000.jpg: .*/a/.*/b/"):
        imported(tmp_path / "refcoco.zip")


def test_names_of_coco_2017_are_the_same_images(tmp_path: Path) -> None:
    release = Release()
    images = release.write_images(tmp_path / "train2017")
    for path in images.iterdir():
        path.rename(images / path.name.removeprefix("COCO_train2014_"))
    (tmp_path / "instances.json").write_text(json.dumps(release.instances))
    source = forms.mdetr(release, tmp_path / "mdetr")
    made = imported(source, images=images, instances=tmp_path / "instances.json")
    assert not [note for note in made.notes if "not in the source" in note]
    assert len(list((tmp_path / "root/images/train2014").iterdir())) == len(release.images)


def test_two_images_of_one_name_in_a_source_are_refused(tmp_path: Path) -> None:
    release = Release()
    source = forms.lmms(release, tmp_path / "RefCOCO")
    first = release.images[0]["id"]
    count = iter(range(100))
    jpeg = Release.jpeg

    class Changing(Release):
        def jpeg(self, image_id: int) -> bytes:
            """The first image changes with each row, at its end, where decoders do not look."""
            return jpeg(self, image_id) + (b"%d" % next(count) if image_id == first else b"")

    (tmp_path / "other").mkdir()
    source = forms.lmms(Changing(), tmp_path / "other/RefCOCO")
    with pytest.raises(
        BarbenchError, match=r"has two images that differ under the name COCO_train2014_000000001000.jpg"
    ):
        imported(source)
