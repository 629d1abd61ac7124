"""The expressions of every split with what each method made of them: the data of the page's explorer.

Without the data set, an expression is its ids and its IoU; with it, also its sentence, category, image and object. The
masks of methods are those that `barbench run --keep-masks` stored, else those of `barbench panels`.
"""

import json
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from pycocotools import mask as coco

from barbench.errors import DataError
from barbench.metrics import SIZE_RULES, Columns, Counts, iou, outcomes, predicted_pixels
from barbench.paper.tables import Column
from barbench.reports.panels import FOUND, TRUTH, PanelEntry
from barbench.reports.report import Report
from barbench.reports.tables.grouping import Group
from barbench.reports.tables.significance import runs_of
from barbench.reports.thumbnails import layer, read_mask, shrunk, small_image
from barbench.results.expressions import masks_of, same_expressions
from barbench.results.qualitative import Mask, Scenes
from barbench.results.resampled import ScoredRun
from barbench.results.store import Store
from barbench.spec.text import plural

RIGHT: Final = 0.5
"""An expression is right above this IoU."""
OUTCOMES: Final = {
    "right": "an IoU above 0.5",
    "nothing": "no pixel is predicted",
    "another object": "it shows another object of the category: similarity at least 0.10, and 0.05 above all others. "
    "Of records without a table of rivals: an IoU above 0.5 with another object that a sentence of the image means",
    "beside": "no pixel of the object is predicted",
    "too large": "four fifths of the object, and more than as much around it",
    "too small": "four fifths of what is predicted are inside the object",
    "poor mask": "everything else",
}
"""What became of an expression, and when: the first that fits."""
_MOST: Final = 0.8
_FOLDER: Final = "expressions"


class Explorer(NamedTuple):
    """The explorer of a page: its data as JSON, compressed by zlib, in base64; further pictures by the names of their
    files; and a note on how many expressions and pictures there are."""

    packed: str
    beside: dict[str, bytes]
    note: str


class _Pictures:
    """Thumbnails of images and of the objects that are meant, inside the page until their room is spent."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.images: dict[str, str] = {}
        self.truths: dict[str, str] = {}
        self.strips = 0
        self.beside: dict[str, bytes] = {}

    def add_image(self, key: str, scenes: Scenes, image_id: int) -> None:
        """Make the thumbnail of an image once; one that cannot be read is left out."""
        if key not in self.images:
            with suppress(DataError):
                self.images[key] = self._placed(small_image(scenes.image(image_id)), "webp", key)

    def add_truth(self, key: str, scenes: Scenes, ann_id: int) -> None:
        """Make the layer of an object once."""
        if key not in self.truths:
            content = layer(shrunk(scenes.mask(ann_id)), TRUTH)
            self.truths[key] = self._placed(content, "png", key)

    def add_strip(self, masks: Sequence[Mask]) -> str:
        """Lay the masks of several methods side by side in one picture, and return its address."""
        self.strips += 1
        return self._placed(layer(np.hstack(masks), FOUND), "png", f"masks-{self.strips}")

    def _placed(self, content: bytes, kind: str, key: str) -> str:
        """The address of a picture: itself, or a file beside the page."""
        uri = f"data:image/{kind};base64,{b64encode(content).decode()}"
        if len(uri) <= self.room:
            self.room -= len(uri)
            return uri
        self.room = 0
        name = f"{_FOLDER}/{key}.{kind}"
        self.beside[name] = content
        return name


class _Masks:
    """Masks of methods in the size of thumbnails."""

    def __init__(self, store: Store, panels: Sequence[PanelEntry]) -> None:
        self._store = store
        self._panels: dict[tuple[str, str, int, str], str] = {}
        for panel in panels:
            for method in panel.methods:
                if method.mask:
                    self._panels[*panel.column, panel.sentence, method.record] = method.mask

    def of(self, run: ScoredRun, column: Column, sentences: Sequence[int]) -> Callable[[int], Mask | None]:
        """From the place of an expression to what the run predicted for it; None where that is not known."""
        with suppress(DataError):
            kept = masks_of(self._store.predicted_masks(run.record.cell), run.split)
            if kept and kept["sent_id"].tolist() == sentences:
                return partial(_decoded, kept)
        return lambda row: self._of_panel((*column, sentences[row], run.record.id))

    def _of_panel(self, key: tuple[str, str, int, str]) -> Mask | None:
        with suppress(OSError, ValueError):
            return read_mask(self._panels[key]) if key in self._panels else None
        return None


def _decoded(kept: Columns, row: int) -> Mask:
    begin = kept["offsets"][row]
    end = kept["offsets"][row + 1]
    size = [int(kept["height"][row]), int(kept["width"][row])]
    run_lengths = kept["counts"][begin:end].tobytes()
    mask = coco.decode({"size": size, "counts": run_lengths}) > 0
    return shrunk(mask)


def explore(report: Report, names: Sequence[str], panels: Sequence[PanelEntry], limit: int) -> Explorer | None:
    """Collect the expressions of all groups; None where no record has counts.

    Args:
        names: of the groups.
        panels: with the masks of methods whose records keep none.
        limit: bytes of everything inside the page; the last splits are left out where it is too small.
    """
    drawn = _Pictures(min(report.pictures, limit))
    masks = _Masks(report.store, panels)
    sets = []
    for members, name in zip(report.groups, names, strict=True):
        for column in members.measured:
            found = _set(members, column, report, drawn, masks)
            if found:
                title = f"{column.title} {column.name}"
                sets.append({"title": f"{name}: {title}" if len(names) > 1 else title, **found})
    # The last splits are left out until the rest fits.
    shown = list(sets)
    while shown:
        packed = _packed(shown, drawn)
        if len(packed) <= limit:
            return Explorer(packed, drawn.beside, _note(sets, shown, drawn))
        shown.pop()
    return None


def _packed(sets: Sequence[Mapping[str, Any]], pictures: _Pictures) -> str:
    content = {
        "sets": sets,
        "images": pictures.images,
        "truths": pictures.truths,
        "outcomes": list(OUTCOMES),
        "sizes": SIZE_RULES["share"].labels,
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return b64encode(zlib.compress(text.encode(), 9)).decode()


def _note(sets: Sequence[Mapping[str, Any]], shown: Sequence[Mapping[str, Any]], pictures: _Pictures) -> str:
    count = sum(len(one["sentence"]) for one in shown)
    note = plural(count, "expression")
    if len(shown) < len(sets):
        left_out = [one["title"] for one in sets[len(shown) :]]
        note += f" (without {', '.join(left_out)}: the page would be too large)"
    images = len(pictures.images)
    # Without the data set there is neither text nor picture.
    if not images:
        return (
            f"{note}, without sentences and pictures: `barbench report --format html --data ROOT` adds those of the "
            "data set."
        )
    inside = sum(address.startswith("data:") for address in pictures.images.values())
    note += f"; the thumbnails of {inside:,} of {images:,} images are inside this file"
    if pictures.beside:
        note += f", further pictures in the folder {_FOLDER} beside it"
    return f"{note}."


def _set(members: Group, column: Column, report: Report, pictures: _Pictures, masks: _Masks) -> dict[str, Any] | None:
    """The expressions of one split, a list for each field; None without counts."""
    runs: dict[str, ScoredRun] = {}
    tables: list[Columns] = []
    for row in members.rows:
        of_seeds = runs_of(row, column)
        # One seed, the lowest: an IoU beside a mask is that mask's.
        for _, run in sorted(of_seeds.items())[:1]:
            counts = report.evidence.counts(run)
            if counts is not None and same_expressions([*tables[:1], counts]):
                runs[row.label] = run
                tables.append(counts)
    if not tables:
        return None
    first = tables[0]
    scores = []
    became = []
    for table in tables:
        ious = iou(table["intersection"], table["union"], table.get("targets"))
        scores.append(np.round(1000 * ious).astype(int).tolist())
        became.append(_outcomes(table, ious).tolist())
    found: dict[str, Any] = {
        "methods": list(runs),
        "iou": scores,
        "outcome": became,
        "sentence": first["sent_id"].tolist(),
        "image": first["image_id"].tolist(),
        "size": _sizes(first).tolist(),
    }
    if "rivals" in first:
        found["rivals"] = first["rivals"].tolist()
    # Categories by the record, unless the data set has them; then sentences, images and objects.
    run = next(iter(runs.values()))
    names = run.record.categories
    if "category_id" in first and names:
        found |= _categories([names.get(number, "") for number in first["category_id"].tolist()])
    scenes = report.find_scenes(run.record.cell).get(run.split)
    if scenes:
        found |= _words(first, scenes)
        sentences = first["sent_id"].tolist()
        predicted = [masks.of(each, column, sentences) for each in runs.values()]
        found |= _seen(first, scenes, column, predicted, pictures)
    return found


def _outcomes(table: Columns, ious: np.ndarray) -> Counts:
    """The place in OUTCOMES of each expression."""
    intersection = table["intersection"]
    area = np.maximum(table["area"], 1)
    predicted = predicted_pixels(table)
    # Records of identity know the similarity to each rival; others have the swapped expressions alone.
    if "s_rival" in table:
        other = outcomes(table) == -1
    else:
        other = (table["control_union"] > 0) & (iou(table["control_intersection"], table["control_union"]) > RIGHT)
    conditions = [
        ious > RIGHT,
        predicted == 0,
        other,
        intersection == 0,
        intersection >= _MOST * area,
        intersection >= _MOST * predicted,
    ]
    places = np.arange(len(conditions))
    return np.asarray(np.select(conditions, list(places), len(conditions)), np.int64)


def _sizes(table: Columns) -> Counts:
    """0 for small, 1 for medium and 2 for large objects, by their share of the image."""
    rule = SIZE_RULES["share"]
    pixels = np.maximum(table["height"] * table["width"], 1)
    shares = table["area"] / pixels
    at_least_medium = shares >= rule.low
    large = shares > rule.high
    return np.asarray(at_least_medium.astype(np.int64) + large)


def _words(table: Columns, scenes: Scenes) -> dict[str, Any]:
    """Texts and categories."""
    texts = []
    categories = []
    for sentence in table["sent_id"].tolist():
        text, category = scenes.sentences.get(sentence, ("", ""))
        texts.append(text)
        categories.append(category)
    return {"text": texts, **_categories(categories)}


def _categories(names: Sequence[str]) -> dict[str, Any]:
    """The category of each expression as its place in a list of all, in alphabetical order."""
    every = sorted(set(names))
    places = {name: place for place, name in enumerate(every)}
    return {"category": [places[name] for name in names], "categories": every}


def _seen(
    table: Columns,
    scenes: Scenes,
    column: Column,
    predicted: Sequence[Callable[[int], Mask | None]],
    pictures: _Pictures,
) -> dict[str, Any]:
    """The keys of each expression's image and object among the pictures; the masks of methods by the expression's
    place: the address of a strip, and the places of the methods that are in it."""
    images = []
    truths = []
    strips = {}
    for row, (image_id, ann_id) in enumerate(zip(table["image_id"].tolist(), table["ann_id"].tolist(), strict=True)):
        # Data sets have the same images, and objects of their own.
        pictures.add_image(str(image_id), scenes, image_id)
        images.append(str(image_id))
        truth = f"{column.dataset}-{ann_id}"
        pictures.add_truth(truth, scenes, ann_id)
        truths.append(truth)
        masks = {}
        for place, of_run in enumerate(predicted):
            mask = of_run(row)
            if mask is not None:
                masks[place] = mask
        if masks:
            strips[row] = (pictures.add_strip(list(masks.values())), list(masks))
    return {"picture": images, "truth": truths, "masks": strips}
