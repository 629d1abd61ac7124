"""Tables: what an image, a mask and a split is, asked before anything is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from barbench.errors import BarbenchError, DataError
from tests.datasets.importers.small_table import AREA, BOX, areas, imported, mask, photo, references, rows, write_csv

COCO = "COCO_train2014_000000000009"


@pytest.mark.parametrize(
    "names",
    [
        [f"{folder}/{COCO}.jpg" for folder in ("clear", "fog", "snow")],
        [f"{COCO}_{number}.jpg" for number in (1, 2, 3)],
        ["a/b.jpg", "a__b.jpg", "c.jpg"],
        ["x/a.jpg", "y/../z/a.jpg", "x/../a.jpg"],
    ],
)
def test_photos_that_differ_stay_apart(names: list[str], tmp_path: Path) -> None:
    made = []
    for number, name in enumerate(names):
        if "/" in name:
            (tmp_path / name.split("/")[0]).mkdir(exist_ok=True)
        photo(tmp_path / name, 60 + 60 * number)
        made.append(
            {"image": name, "expression": f"box {number}", "polygon": BOX, "split": "val" if number else "train"}
        )
    source = write_csv(tmp_path / "mine.csv", made)
    imported(source)
    written = [ref["file_name"] for ref in references(source)]
    assert len(set(written)) == 3
    found = [int(np.array(Image.open(tmp_path / "root/images/train2014" / name)).mean().round()) for name in written]
    assert found == [60, 120, 180]


def test_cocos_name_is_kept_where_it_is_one_image(tmp_path: Path) -> None:
    """Copies with the same bytes are one image, and REFER's suffix names the file without it."""
    for folder in ("a", "b"):
        photo(tmp_path / f"{folder}/{COCO}.jpg")
    images = [f"a/{COCO}.jpg", f"b/{COCO}.jpg", f"a/{COCO}_16.jpg"]
    table = [{**row, "image": image, "split": ""} for row, image in zip(rows(tmp_path), images, strict=True)]
    table += [{**row, "split": ("train", "val")[n]} for n, row in enumerate(rows(tmp_path, 2))]
    source = write_csv(tmp_path / "mine.csv", table)
    imported(source)
    assert references(source)[0]["file_name"] == f"{COCO}.jpg"
    assert {ref["image_id"] for ref in references(source) if ref["file_name"] == f"{COCO}.jpg"} == {9}


def test_an_image_has_one_split_however_its_path_is_written(tmp_path: Path) -> None:
    made = []
    (tmp_path / "other").mkdir()
    for number in range(20):
        photo(tmp_path / f"c{number}.png", number)
        for path, box in ((f"c{number}.png", BOX), (f"./c{number}.png", "[1,1,9,1,9,9]"),
                          (f"other/../c{number}.png", "[1,1,8,1,8,9]")):  # fmt: skip
            made.append({"image": path, "expression": "one", "polygon": box})
    source = write_csv(tmp_path / "mine.csv", made)
    made_ = imported(source)
    splits: dict[str, set[str]] = {}
    for ref in references(source):
        splits.setdefault(ref["file_name"], set()).add(ref["split"])
    assert len(splits) == 20
    assert {len(found) for found in splits.values()} == {1}
    assert not any("are in train too" in note for note in made_.notes)


def test_a_row_without_split_has_that_of_its_image(tmp_path: Path) -> None:
    made = rows(tmp_path, 12)
    for row in list(made):
        made.append({**row, "polygon": "[1,1,9,1,9,9]", "split": ""})
    source = write_csv(tmp_path / "mine.csv", made)
    assert not any("are in train too" in note for note in imported(source).notes)


def test_an_image_in_train_and_val_by_the_tables_word_is_said(tmp_path: Path) -> None:
    made = rows(tmp_path)
    source = write_csv(tmp_path / "mine.csv", [*made, {**made[0], "split": "val"}])
    assert "warning: mine: 1 of 3 images of val are in train too, the first is a0.png" in imported(source).notes


@pytest.mark.parametrize(
    "polygon",
    [
        "[[5,5],[25,5],[25,30],[5,30]]",
        "[[[5,5],[25,5],[25,30],[5,30]]]",
        "[[5,5,25,5,25,30,5,30]]",
        json.dumps({"size": [40, 60], "counts": [205, *[25, 15] * 19, 25, 2400 - 205 - 19 * 40 - 25]}),
    ],
)
def test_forms_of_a_polygon(polygon: str, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "mine.csv", rows(tmp_path, polygon=polygon))
    imported(source)
    assert areas(source) == [AREA] * 3


@pytest.mark.parametrize(
    ("polygon", "words"),
    [
        ("[0.1,0.1,0.5,0.1,0.5,0.6]", r"lies between 0 and 1, in shares .* width \(60\) and y by the height \(40\)"),
        ("[5,5,25,30]", "its polygon has 4 numbers, and three points have six: is it a box"),
        ("[[5,5],[25,30]]", "its polygon has 2 points"),
        ("[[5,5],[25,5,25,30,5,30]]", "two numbers, which are a point and no polygon"),
        ("5 5 25 5", "'polygon' is no JSON"),
    ],
)
def test_polygons_that_would_be_empty_are_refused(polygon: str, words: str, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "mine.csv", rows(tmp_path, polygon=polygon))
    with pytest.raises(DataError, match=rf"mine\.csv, row 2: .*{words}"):
        imported(source)
    assert not (tmp_path / "root").exists(), "a table is asked before anything is written"


def test_one_object_has_one_mask(tmp_path: Path) -> None:
    made = rows(tmp_path, object="7.0")
    source = write_csv(tmp_path / "mine.csv", [*made, {**made[1], "polygon": "[1,1,9,1,9,9]"}])
    with pytest.raises(DataError, match=r"row 5: it has another mask than row 3, and both are the object '7\.0'"):
        imported(source)


def test_numbers_as_pandas_writes_them(tmp_path: Path) -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[5:30, 5:25] = 1
    labels[5:30, 30:50] = 2
    Image.fromarray(labels).save(tmp_path / "labels.png")
    columns: dict[str, Any] = {"mask": "labels.png", "polygon": ""}
    made = rows(tmp_path, **columns)
    for row, category, value in zip(made, ("3.0", "", "1.0"), ("1.0", "2.0", ""), strict=True):
        row.update(category=category, value=value)
    source = write_csv(tmp_path / "mine.csv", made)
    imported(source)
    assert [ref["category_id"] for ref in references(source)] == [3, 0, 1]
    assert areas(source) == [500, 500, 1000]
    gap = float("nan")
    for row, category in zip(made, (3.0, gap, None), strict=True):
        row.update(category=category, value=gap, polygon=None)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(made))
    imported(other)
    assert [ref["category_id"] for ref in references(other)] == [3, 0, 0]


@pytest.mark.parametrize("turn", [6, 8])
def test_masks_of_turned_photos(turn: int, tmp_path: Path) -> None:
    """Stored as 60 x 40, shown as 40 x 60; masks of that size, and polygons that only fit it, say so."""
    made = rows(tmp_path)
    Image.fromarray(mask(40, 60)).save(tmp_path / "m.png")
    for number, row in enumerate(made):
        photo(tmp_path / f"a{number}.jpg", 60 + number, turn=turn)
        row.update(image=f"a{number}.jpg", mask="m.png")
    made[2].update(mask="", polygon="[5,5,25,5,25,50,5,50]")
    source = write_csv(tmp_path / "mine.csv", made)
    result = imported(source)
    assert "3 masks fit the turned ones alone: all images are read turned" in result.notes[0]
    [data] = result.data
    assert [(info.width, info.height, info.apply_exif) for info in data.images.values()] == [(40, 60, True)] * 3
    assert "exif: apply" in (tmp_path / "root/mine/protocol.yaml").read_text()
    assert areas(source)[0] == AREA


def test_polygons_that_fit_both_ways_are_asked_for(tmp_path: Path) -> None:
    made = rows(tmp_path)
    for number, row in enumerate(made):
        photo(tmp_path / f"a{number}.jpg", 60 + number, turn=6)
        row["image"] = f"a{number}.jpg"
    source = write_csv(tmp_path / "mine.csv", made)
    with pytest.raises(BarbenchError, match=r"turned by their EXIF \(mine\.csv, row 2; .*--exif apply.*--exif stored"):
        imported(source)
    assert not (tmp_path / "root").exists()
    [data] = imported(source, exif="stored").data
    assert {(info.width, info.height) for info in data.images.values()} == {(60, 40)}
    (tmp_path / "other").mkdir()
    other = write_csv(tmp_path / "other/mine.csv", [{**row, "image": f"../{row['image']}"} for row in made])
    [data] = imported(other, exif="apply").data
    assert {(info.width, info.height) for info in data.images.values()} == {(40, 60)}


def test_masks_of_turned_and_of_stored_photos_are_not_mixed(tmp_path: Path) -> None:
    made = rows(tmp_path)
    for number, row in enumerate(made):
        photo(tmp_path / f"a{number}.jpg", 60 + number, turn=6)
        row["image"] = f"a{number}.jpg"
    made[1]["polygon"] = "[5,5,25,5,25,55,5,55]"
    made[2]["polygon"] = "[5,5,55,5,55,25,5,25]"
    with pytest.raises(DataError, match=r"row 3 fits the turned image alone, that of mine\.csv, row 4 the stored one"):
        imported(write_csv(tmp_path / "mine.csv", made))


def test_a_turned_photo_that_becomes_a_png(tmp_path: Path) -> None:
    """PNG made of WebP has no EXIF: with masks of the turned photo it is turned when it is written."""
    made = rows(tmp_path)
    Image.fromarray(mask(40, 60)).save(tmp_path / "m.png")
    for number, row in enumerate(made):
        photo(tmp_path / f"a{number}.webp", 60 + number, turn=6, lossless=True)
        row.update(image=f"a{number}.webp", mask="m.png", polygon="")
    source = write_csv(tmp_path / "mine.csv", made)
    imported(source)
    assert Image.open(tmp_path / "root/images/train2014/a0.webp.png").size == (40, 60)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": "folder"}, "row 2: the mask .*folder is a folder"),
        ({"mask": "none.png"}, "row 2: the mask .*none.png is not there"),
        ({"image": "folder"}, "row 2: the image .*folder is a folder"),
        ({"image": "x.heic"}, "row 2: the image .*x.heic is no image that can be read, it is a HEIC photo"),
        ({"image": "page.jpg"}, "row 2: the image .*page.jpg is no image that can be read, it is a web page"),
        ({"expression": " "}, "row 2: 'expression' is empty"),
        ({"value": "x", "mask": "m.png"}, "row 2: 'value': 'x' is not a whole number"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(change: dict[str, str], words: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    Image.fromarray(mask()).save(tmp_path / "m.png")
    made = rows(tmp_path, mask="", value="")
    made[0].update(change)
    with pytest.raises(DataError, match=words):
        imported(write_csv(tmp_path / "mine.csv", made))


def test_paths_of_windows_and_contents_that_the_name_does_not_say(tmp_path: Path) -> None:
    made = rows(tmp_path, 2)
    photo(tmp_path / "img/w.png").rename(tmp_path / "img/w.jpg")
    Image.open(tmp_path / "a1.png").save(tmp_path / "img/x.webp")
    (tmp_path / "img/x.webp").rename(tmp_path / "img/x.jpg")
    made[0]["image"] = "img\\w.jpg"
    made[1]["image"] = "img\\x.jpg"
    source = write_csv(tmp_path / "mine.csv", made)
    imported(source)
    assert [ref["file_name"] for ref in references(source)] == ["img__w.jpg", "img__x.jpg.png"]


def test_a_long_path_has_a_short_name(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120) / ("e" * 120)
    for name in ("a.png", "b.png"):
        photo(folder / name, ord(name[0]))
    made = rows(tmp_path, 2)
    for row, name in zip(made, ("a.png", "b.png"), strict=True):
        row["image"] = str(folder / name)
    source = write_csv(tmp_path / "mine.csv", made)
    imported(source)
    names = [ref["file_name"] for ref in references(source)]
    assert len(set(names)) == 2
    assert all(len(name) <= 200 and name.endswith(".png") for name in names)


def test_a_mask_of_the_turned_photo_on_the_stored_one_says_what_to_do(tmp_path: Path) -> None:
    made = rows(tmp_path, mask="m.png", polygon="")
    Image.fromarray(mask(40, 60)).save(tmp_path / "m.png")
    source = write_csv(tmp_path / "mine.csv", made)
    with pytest.raises(DataError, match=r"row 2: its mask has 40x60 pixels, a0\.png has 60x40: .*--exif apply"):
        imported(source)
