"""Panels as pictures: what is drawn where, and the list of them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from barbench.reports.panels import FOUND, TRUTH, overlaid, write_found, write_panels
from barbench.reports.thumbnails import small_mask
from barbench.results.qualitative import Found, Mask, Overlay, Panel

HEIGHT, WIDTH = 60, 90


def disc(x: int, y: int, radius: int) -> Mask:
    rows, columns = np.indices((HEIGHT, WIDTH))
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def panel(name: str, pick: str = "disagree", expression: str = "the man", height: int = HEIGHT) -> Panel:
    image = np.full((height, WIDTH, 3), 128, np.uint8)
    empty = np.zeros((height, WIDTH), bool)
    truth = empty.copy()
    truth[10:30, 10:30] = True
    overlays = (Overlay("ETRIS", truth, 1.0), Overlay("SNF", empty, 0.0), Overlay("Full", ~empty, 0.1))
    return Panel(name, f"RefCOCO+ val, {name}", expression, pick, image, truth, overlays)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(path.read_bytes())).convert("RGB")).astype(int)


def near(picture: np.ndarray, color: str) -> np.ndarray:
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return np.asarray(np.abs(picture - wanted).sum(-1) < 40)


def test_each_expression_has_a_sheet_and_each_pick_an_overview(tmp_path: Path) -> None:
    made = [panel("a"), panel("b"), panel("a", pick="fail", expression='a "tall" $man$ <b> für 猫')]
    paths = write_panels(made, tmp_path / "panels")
    assert [path.name for path in paths] == [
        "disagree-a.png",
        "disagree-b.png",
        "fail-a.png",
        "overview-disagree.png",
        "overview-fail.png",
        "panels.json",
    ]
    listed = json.loads(paths[-1].read_text("utf-8"))
    assert [entry["file"] for entry in listed] == ["disagree-a.png", "disagree-b.png", "fail-a.png"]
    masks = [method.pop("mask") for method in listed[2]["methods"]]
    assert masks == [small_mask(overlay.mask, FOUND) for overlay in made[2].overlays]
    methods = []
    for title, iou in (("ETRIS", 1.0), ("SNF", 0.0), ("Full", 0.1)):
        methods.append({"title": title, "iou": iou, "record": ""})
    assert listed[2] == {
        "file": "fail-a.png", "title": "RefCOCO+ val, a", "expression": made[2].expression, "pick": "fail",
        "methods": methods, "column": ["", ""], "sentence": 0,
    }  # fmt: skip
    sheet, overview = pixels(paths[0]), pixels(paths[3])
    assert sheet.shape[1] == overview.shape[1], "columns of sheets and overviews are as wide"
    assert sheet.shape[0] < overview.shape[0] < 3 * sheet.shape[0]
    first = paths[0].read_bytes()
    write_panels(made, tmp_path / "panels")
    assert paths[0].read_bytes() == first, "the same panels give the same bytes"


def test_tiles_stand_in_a_row_with_their_aspect(tmp_path: Path) -> None:
    sheet = pixels(write_panels([panel("a")], tmp_path)[0])
    plain = (sheet == 128).all(-1)  # only the image itself has its own gray
    rows, columns = np.flatnonzero(plain.sum(1) > 150), np.flatnonzero(plain.sum(0) > 100)
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(WIDTH / HEIGHT, rel=0.02)
    truth, found = near(sheet, TRUTH), near(sheet, FOUND)
    assert truth[rows].any()
    assert found[rows].any()
    tile = np.ptp(columns) + 1
    assert set(np.flatnonzero(truth[rows].any(0)) // (tile + 10)) == {1}, "the object is outlined in its own tile"
    assert set(np.flatnonzero(found[rows].any(0)) // (tile + 10)) == {2}, "nothing and everything have no outline"


def test_long_expressions_are_wrapped_and_slim_images_have_room(tmp_path: Path) -> None:
    words = "the person in the long red coat who stands to the left of the other one " * 4
    short, long = (pixels(write_panels([panel("a", expression=e)], tmp_path)[0]) for e in ("the man", words))
    assert long.shape[1] == short.shape[1]
    assert long.shape[0] > short.shape[0] + 40
    assert (long[:, -8:] > 250).all(), "nothing runs over the edge"
    slim = pixels(write_panels([panel("a", height=900)], tmp_path)[0])
    assert slim.shape[1] > 5 * 1.3 * 150 * 0.99


def test_an_overlay_tints_inside_and_fades_outside() -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = 200
    found = overlaid(image, disc(40, 30, 10), "#0000ff").astype(int)
    assert found[30, 40].tolist() == [110, 0, 114]  # 55 % of the image, 45 % of the color
    outside = found[0, 0]
    assert outside[0] < 200
    assert outside[1] == outside[2] > 0


def test_a_photo_and_what_was_found_in_it(tmp_path: Path) -> None:
    photo = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    nothing = np.zeros((HEIGHT, WIDTH), bool)
    found = [
        Found("the man in red", disc(30, 30, 12), 0.08, 0.7, 0.9, False),
        Found("a $very$ long expression " * 8, nothing, 0.0, None, 0.2, True),
        Found("all of it", ~nothing, 1.0, 0.5, 0.6, False),
    ]
    write_found(photo, found[:1], tmp_path / "one.png")
    write_found(photo, found, tmp_path / "sub" / "three.png")
    one, three = pixels(tmp_path / "one.png"), pixels(tmp_path / "sub" / "three.png")
    assert three.shape[1] > 1.4 * one.shape[1]
    assert three.shape[0] > 1.8 * one.shape[0]
    assert near(one, FOUND)[:, : one.shape[1] // 2].sum() == 0
    assert near(one, FOUND).any()


def test_a_large_photo_is_drawn_small(tmp_path: Path) -> None:
    photo = np.full((3000, 4000, 3), 128, np.uint8)
    mask = np.zeros((3000, 4000), bool)
    mask[1000:2000, 1000:2000] = True
    write_found(photo, [Found("it", mask, 1 / 12, 0.7, 0.9, False)], tmp_path / "large.png")
    sheet = pixels(tmp_path / "large.png")
    assert sheet.shape[1] < 1600
    assert near(sheet, FOUND).any()
