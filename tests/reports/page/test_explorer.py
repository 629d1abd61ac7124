"""The data of the page's explorer, unpacked and compared with what was stored and with masks drawn here."""

import io
import json
import zlib
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from barbench.errors import DataError
from barbench.reports.page.explorer import OUTCOMES, Explorer, explore
from barbench.reports.panels import FOUND, TRUTH, MethodScore, PanelEntry
from barbench.reports.report import Report, no_scenes
from barbench.reports.tables.grouping import group
from barbench.reports.thumbnails import SIDE, small_mask
from barbench.results.qualitative import Scenes
from barbench.results.record import Cell
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store
from tests.reports import runs
from tests.reports.conftest import Make


@pytest.fixture(scope="module")
def store(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("results"))
    for seed in (0, 1):
        for method, skill in (("etris", 0.4), ("snf", 0.6)):
            runs.save(store, make, method, "refcoco", images=6, skill=skill, seed=seed)
    return store


def image(image_id: int) -> np.ndarray:
    if image_id == 2:
        raise DataError("this one is damaged")
    return np.random.default_rng(image_id).integers(0, 255, (90, 160, 3), np.uint8)


def mask(ann_id: int) -> np.ndarray:
    found = np.zeros((90, 160), bool)
    found[10:40, 20 : 30 + ann_id] = True
    return found


def scenes(cell: Cell) -> Mapping[str, Scenes]:
    sentences = {number: (f"sentence “{number}” <b>", ("dog", "cat")[number % 2]) for number in range(24)}
    own = Scenes(sentences, {number: f"{number}.jpg" for number in range(6)}, image, mask)
    return {"val": own, "testA": own}  # nothing is known of testB


def found_in(store: Store, room: int = 10**6, panels: tuple[PanelEntry, ...] = (), **changes: Any) -> Explorer:
    records = store.all()
    find = changes.get("find", scenes)
    report = Report({}, records, group(records), store, ResampledScores(store), store.folder, find, room)
    found = explore(report, ["one"], panels, changes.get("limit", 10**6))
    assert found is not None
    return found


def content(found: Explorer) -> dict[str, Any]:
    unpacked: dict[str, Any] = json.loads(zlib.decompress(b64decode(found.packed)))
    return unpacked


def test_every_expression_has_the_ious_that_were_stored(store: Store) -> None:
    sets = content(found_in(store))["sets"]
    assert [one["title"] for one in sets] == ["RefCOCO val", "RefCOCO testA", "RefCOCO testB"]
    for one, split in zip(sets, ("val", "testA", "testB"), strict=True):
        assert one["methods"] == ["ETRIS", "SNF"]
        for title, ious in zip(one["methods"], one["iou"], strict=True):
            (record,) = [r for r in store.all() if r.title == title and r.cell.seed == 0]
            arrays = store.expressions(record.cell)
            expected = arrays[f"{split}/intersection"] / np.maximum(arrays[f"{split}/union"], 1)
            assert ious == pytest.approx((1000 * expected).tolist(), abs=0.5)
            assert one["sentence"] == arrays[f"{split}/sent_id"].tolist()
            assert one["image"] == arrays[f"{split}/image_id"].tolist()
            share = arrays[f"{split}/area"] / (arrays[f"{split}/height"] * arrays[f"{split}/width"])
            assert one["size"] == [0 if s < 0.02 else 2 if s > 0.2 else 1 for s in share.tolist()]


def test_sentences_categories_images_and_objects_are_those_of_the_data(store: Store) -> None:
    unpacked = content(found_in(store))
    val, _, bare = unpacked["sets"]
    assert val["text"][3] == "sentence “3” <b>"
    assert [val["categories"][place] for place in val["category"][:3]] == ["dog", "cat", "dog"]
    assert not {"text", "category", "picture", "truth"} & bare.keys()
    assert set(unpacked["images"]) == {"0", "1", "3", "4", "5"}  # without the damaged one
    with Image.open(io.BytesIO(b64decode(unpacked["images"]["3"].partition(",")[2]))) as small:
        assert small.size == (SIDE, 81)
    truth = unpacked["truths"][val["truth"][4]]
    with Image.open(io.BytesIO(b64decode(truth.partition(",")[2]))) as layer:
        assert layer.size == (SIDE, 81)
        pixels = np.asarray(layer.convert("RGBA"))
    inside = pixels[..., 3] > 0
    expected = mask(2)  # of the third object: two sentences each
    assert inside.mean() == pytest.approx(expected.mean(), rel=0.05)
    assert set(map(tuple, pixels[inside][:, :3].tolist())) == {tuple(bytes.fromhex(TRUTH[1:]))}


def test_pictures_that_do_not_fit_lie_beside(store: Store) -> None:
    every = found_in(store)
    assert every.beside == {}
    assert "the thumbnails of 5 of 5 images are inside this file." in every.note
    none = found_in(store, room=0)
    objects = {f"expressions/refcoco-{number}.png" for number in range(12)}
    assert set(none.beside) == objects | {f"expressions/{number}.webp" for number in (0, 1, 3, 4, 5)}
    assert content(none)["images"]["3"] == "expressions/3.webp"
    assert "0 of 5 images are inside this file, further pictures in the folder expressions beside it." in none.note
    uri = content(every)["images"]["3"]
    assert b64decode(uri.partition(",")[2]) == none.beside["expressions/3.webp"]


def test_a_page_that_is_too_small_leaves_out_the_last_splits(store: Store) -> None:
    whole = found_in(store, room=0)
    less = found_in(store, room=0, limit=len(whole.packed) - 1)
    assert [one["title"] for one in content(less)["sets"]] == ["RefCOCO val", "RefCOCO testA"]
    assert less.note.startswith("48 expressions (without RefCOCO testB: the page would be too large);")
    assert len(less.packed) < len(whole.packed)


def test_without_the_data_there_are_ids_and_scores(store: Store) -> None:
    found = found_in(store, find=no_scenes)
    assert content(found)["images"] == {}
    assert "72 expressions, without sentences and pictures: `barbench report" in found.note


def tiles(address: str, count: int) -> list[np.ndarray]:
    """Which pixels are inside, in each of the masks of a strip."""
    with Image.open(io.BytesIO(b64decode(address.partition(",")[2]))) as layer:
        pixels = np.asarray(layer.convert("RGBA"))
    inside = pixels[..., 3] > 0
    assert set(map(tuple, pixels[inside][:, :3].tolist())) <= {tuple(bytes.fromhex(FOUND[1:]))}
    return np.split(inside, count, axis=1)


def of_panel(store: Store, column: str, sentence: int, ann_id: int) -> PanelEntry:
    """A panel that shows one mask of SNF."""
    (snf,) = [record for record in store.all() if record.title == "SNF" and record.cell.seed == 0]
    method = MethodScore(title="SNF", iou=0.5, record=snf.id, mask=small_mask(mask(ann_id), FOUND))
    return PanelEntry(file="a.png", expression="x", column=("refcoco", column), sentence=sentence, methods=(method,))


def test_masks_are_those_of_the_panels(store: Store) -> None:
    old = PanelEntry(file="b.png", expression="x", methods=(MethodScore(title="SNF", iou=0.5),))
    broken = of_panel(store, "testA", 9, 1)
    broken.methods[0].mask = "bm90IGEgcGljdHVyZQ=="
    val, test_a, test_b = content(found_in(store, panels=(of_panel(store, "testA", 7, 1), old, broken)))["sets"]
    assert val["masks"] == {}
    assert list(test_a["masks"]) == ["7"]
    address, places = test_a["masks"]["7"]
    assert places == [1]
    (shown,) = tiles(address, 1)
    assert shown.mean() == pytest.approx(mask(1).mean(), rel=0.05)
    assert "masks" not in test_b  # there is no picture to lie on


def test_masks_that_were_kept_are_shown_without_running_anything(make: Make, tmp_path: Path) -> None:
    """SNF's on val alone, one of them empty and one full; ETRIS has one of a panel there."""
    store = Store(tmp_path)
    for method in ("etris", "snf"):
        runs.save(store, make, method, "refcoco", images=6)
    predicted = [mask(5 * number) for number in range(24)]
    predicted[3] = np.zeros((90, 160), bool)
    predicted[4] = np.ones((90, 160), bool)
    runs.keep(store, "SNF", {"val": predicted})
    (etris,) = [record for record in store.all() if record.title == "ETRIS"]
    method = MethodScore(title="ETRIS", iou=0.5, record=etris.id, mask=small_mask(mask(60), FOUND))
    panel = PanelEntry(file="a.png", expression="x", column=("refcoco", "val"), sentence=7, methods=(method,))
    found = found_in(store, panels=(panel, of_panel(store, "val", 7, 0), of_panel(store, "testA", 7, 1)))
    val, test_a, _ = content(found)["sets"]
    assert list(val["masks"]) == [str(number) for number in range(24)]
    for row, (address, places) in val["masks"].items():
        assert places == ([0, 1] if row == "7" else [1])
        *others, snf = tiles(address, len(places))
        assert snf.shape == (81, SIDE)
        # Of thumbnails 0.9 times the size: a pixel is inside where most of what it shows is.
        nearest = predicted[int(row)][(np.arange(81) / 0.9 + 0.5).astype(int)]
        nearest = nearest[:, (np.arange(SIDE) / 0.9 + 0.5).astype(int)]
        assert (snf != nearest).mean() < 0.02
        for other in others:
            assert other.mean() == pytest.approx(mask(60).mean(), rel=0.05)
    assert list(test_a["masks"]) == ["7"]

    beside = found_in(store, room=0)
    assert sum(name.startswith("expressions/masks-") for name in beside.beside) == 24
    assert content(beside)["sets"][0]["masks"]["0"] == ["expressions/masks-1.png", [1]]


def test_masks_that_cannot_be_read_or_are_of_other_expressions_are_not_shown(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = runs.save(store, make, "snf", "refcoco", images=6)
    runs.keep(store, "SNF", {"val": [mask(1)] * 24})
    assert content(found_in(store))["sets"][0]["masks"]
    arrays = dict(store.expressions(record.cell))
    masks = store.predicted_masks(record.cell)
    store.save(record, arrays | masks | {"masks/val/sent_id": masks["masks/val/sent_id"][::-1]})
    assert content(found_in(store))["sets"][0]["masks"] == {}
    store.masks(record.cell).write_bytes(b"damaged")
    assert content(found_in(store))["sets"][0]["masks"] == {}


def test_what_became_of_an_expression(make: Make, tmp_path: Path) -> None:
    """Seven expressions of an object of 100 pixels, one for each outcome."""
    store = Store(tmp_path)
    record = runs.save(store, make, "etris", "refcoco", images=2)
    arrays = dict(store.expressions(record.cell))
    rows = {  # intersection, predicted, IoU with the other object
        "right": (80, 100, 0.0),
        "nothing": (0, 0, 0.0),
        "another object": (20, 100, 0.6),
        "beside": (0, 50, 0.1),
        "too large": (90, 300, 0.1),
        "too small": (30, 32, 0.1),
        "poor mask": (40, 90, 0.1),
    }
    for name in [name for name in arrays if name.startswith("val/")]:
        arrays[name] = arrays[name][:7]
    inside, predicted, other = np.array(list(rows.values())).T
    arrays["val/area"] = np.full(7, 100)
    arrays["val/intersection"] = inside.astype(int)
    arrays["val/union"] = (100 + predicted - inside).astype(int)
    arrays["val/control_intersection"] = (1000 * other).astype(int)
    arrays["val/control_union"] = np.full(7, 1000)
    store.save(record, arrays)
    val = content(found_in(store))["sets"][0]
    assert [list(OUTCOMES)[place] for place in val["outcome"][0]] == list(rows)
