"""PhraseCut: phrases that mean one or several objects in images of Visual Genome. Used by `barbench data import`.

ChenyunWu/PhraseCutDataset at 276470b: `refer_{train,val,test,miniv}.json`, a list of {task_id, image_id, phrase,
Polygons [instance][polygon][[x, y], …], phrase_structure {name, …}, …}, and `image_data_split3000.json`, a list of
{image_id, coco_id, width, height, split}. The mask of a phrase is the union of its instances, drawn as the authors draw
it: corners cut to whole pixels, with the outline, which differs from pycocotools by a rim. Images that are COCO's, too,
get COCO's ids, so that the audit finds them in training sets; the others have Visual Genome's above OFFSET.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from barbench.datasets.entries import UNREADABLE, naming, read_size
from barbench.datasets.importers.pictures import SourceImage
from barbench.datasets.importers.writer import Given, ImportedObject, ImportedReference, Items
from barbench.errors import UsageError
from barbench.values import listed, number, read_entries, read_key, text, whole

OFFSET: Final = 1_000_000_000
IMAGE_DATA: Final = "image_data_split3000.json"
_NAME = re.compile(r"refer_(train|val|test|miniv)\.json")


def split_of(path: Path) -> str | None:
    """The split that a file of phrases is named after; None for another file."""
    found = _NAME.fullmatch(path.name)
    return found[1] if found else None


def items(path: Path, given: Given) -> Items:
    """The phrases of a file `refer_<split>.json`, which has IMAGE_DATA beside it or in the folder above."""
    split = split_of(path)
    if split is None:
        raise UsageError(f"{path} is not named as PhraseCut's files are: refer_train.json, …")
    pictures = _pictures(path)
    for place, entry in enumerate(_loaded(path)):
        where = f"{path}, entry {place}"
        with naming(where):
            image_id = read_key(entry, "image_id", whole)
            if image_id not in pictures:
                raise ValueError(f"{IMAGE_DATA} has no image {image_id}")
            picture = pictures[image_id]
            assert picture.size is not None
            # The noun of the phrase is the nearest to a category.
            structure = entry.get("phrase_structure")
            name = structure.get("name") if isinstance(structure, dict) else None
            meant = ImportedObject(
                drawn(read_key(entry, "Polygons", listed), picture.size),
                category_name=name if isinstance(name, str) else "",
                source_id=str(entry.get("task_id", "")),
            )
            phrase = read_key(entry, "phrase", text)
            yield ImportedReference(split, picture, meant, [(None, phrase)], where=where)


def drawn(instances: list[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw polygons as the authors do; ValueError for points that are no pairs of finite numbers.

    Args:
        instances: of each object its polygons, lists of points (x, y) in pixels.
        size: width and height in pixels.

    Returns:
        uint8 (height, width), 1 inside and on the outline of any.
    """
    canvas = Image.new("L", size, 0)
    pen = ImageDraw.Draw(canvas)
    for polygons in instances:
        for polygon in listed(polygons):
            corners = [_corner(point) for point in listed(polygon)]
            if len(corners) >= 2:
                pen.polygon(corners, outline=1, fill=1)
    return np.asarray(canvas, dtype=np.uint8)


def _corner(point: Any) -> tuple[int, int]:
    x, y = (number(value) for value in listed(point))
    return int(x), int(y)


def _pictures(path: Path) -> dict[int, SourceImage]:
    """The images by Visual Genome's ids."""
    for folder in (path.parent, path.parent.parent):
        if (folder / IMAGE_DATA).is_file():
            return dict(read_entries(_loaded(folder / IMAGE_DATA), "images", _picture))
    raise UsageError(f"{IMAGE_DATA} is neither beside {path} nor in the folder above")


def _picture(entry: dict[str, Any]) -> tuple[int, SourceImage]:
    own = read_key(entry, "image_id", whole)
    # Not every image of Visual Genome is one of COCO's.
    if entry.get("coco_id") is None:
        number = OFFSET + own
    else:
        number = read_key(entry, "coco_id", whole)
    return own, SourceImage(f"{own}.jpg", None, read_size(entry), number)


def _loaded(path: Path) -> list[Any]:
    with naming(f"{path} is not a list as JSON", UNREADABLE):
        return listed(json.loads(path.read_bytes()))
