"""COCO's annotations by id and by box, for sources that have boxes alone: `barbench data import --instances FILE`.

Such a file is `instances.json` of the release, or COCO's own `annotations/instances_train2014.json`.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from barbench.datasets.entries import UNREADABLE, anything, naming, read_categories, read_size
from barbench.values import listed, number, read_entries, read_key, text, whole

TOLERANCE = 0.02  # pixels; boxes are rounded to two decimals, and added up in some sources


class InstanceImage(NamedTuple):
    """An image's id, the name of its file, and its sides in pixels."""

    number: int
    name: str
    width: int
    height: int


class Instances:
    """The annotations of one file; DataError where it is not one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming(f"{path} is not a COCO instances file", UNREADABLE):
            raw = json.loads(path.read_bytes())
            images = read_key(raw, "images", listed)
            annotations = read_key(raw, "annotations", listed)
            known = read_entries(images, "images", _image)
            read = read_entries(annotations, "annotations", _annotation)
            self.categories = read_categories(raw)
        self._images = {image.number: image for image in known}
        self._named = {image.name: image for image in known}
        # By id, and by image: sources name objects by either.
        self._annotations = {entry["id"]: entry for entry in read}
        self._by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for entry in self._annotations.values():
            self._by_image[entry["image_id"]].append(entry)

    def image(self, number: int) -> InstanceImage:
        """The image with an id; ValueError where there is none."""
        if number not in self._images:
            raise ValueError(f"{self.path} has no image {number}")
        return self._images[number]

    def get(self, ann_id: int) -> dict[str, Any]:
        """The annotation with an id of COCO's; ValueError where there is none."""
        if ann_id not in self._annotations:
            raise ValueError(f"{self.path} has no annotation {ann_id}")
        return self._annotations[ann_id]

    def at(self, name: str, box: list[float], polygon: list[float] | None = None) -> dict[str, Any]:
        """The only annotation of an image with a box; ValueError where there is none, or several.

        Args:
            box: x, y, width and height in pixels; sides may be cut at the image's border.
            polygon: one of the object's polygons, which tells objects with equal boxes apart.
        """
        near = []
        if name in self._named:
            image = self._named[name]
            for entry in self._by_image.get(image.number, []):
                own = entry["bbox"]
                if _same(own, box) or _same(_cut(own, image), box):
                    near.append(entry)
        # Several objects with one box: the polygon says which.
        if len(near) > 1 and polygon is not None:
            near = [entry for entry in near if _has_polygon(entry, polygon)]
        if len(near) != 1:
            what = f"annotation of {self.path} with the box {box} in {name}"
            raise ValueError(f"expected exactly one {what}, found {len(near)}")
        return near[0]


def _has_polygon(entry: dict[str, Any], polygon: list[float]) -> bool:
    segmentation = entry["segmentation"]
    return isinstance(segmentation, list) and polygon in segmentation


def _image(entry: Any) -> InstanceImage:
    name = read_key(entry, "file_name", text)
    return InstanceImage(read_key(entry, "id", whole), name, *read_size(entry))


def _annotation(entry: Any) -> dict[str, Any]:
    """An entry whose ids are whole numbers, and whose box has numbers."""
    ids = {key: read_key(entry, key, whole) for key in ("id", "image_id")}
    box = [number(side) for side in read_key(entry, "bbox", listed)]
    if len(box) != 4:
        raise ValueError(f"'bbox' has {len(box)} numbers, not x, y, width and height")
    return {**entry, **ids, "bbox": box, "segmentation": read_key(entry, "segmentation", anything)}


def _same(box: list[float], other: list[float]) -> bool:
    if len(box) != len(other):
        return False
    return all(abs(a - b) < TOLERANCE for a, b in zip(box, other, strict=True))


def _cut(box: list[float], image: InstanceImage) -> list[float]:
    """A box [x, y, w, h] that ends at the image's border."""
    x, y, w, h = box
    right = min(x + w, image.width)
    bottom = min(y + h, image.height)
    return [x, y, right - x, bottom - y]
