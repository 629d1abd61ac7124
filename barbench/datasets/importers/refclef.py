"""RefCLEF, which is ReferIt in the refer release: text ids, masks in parts, images of SAIAPR TC-12. Used by `barbench
data import`.

refer at e3bbaa3: `refclef/refs(unc).p`, `refs(berkeley).p`, `instances.json`. `ann_id` and the annotations' `id` are
text ("8756_2"), `segmentation` is a list of RLE dicts, of which the object is the union. Here annotations are numbered
in the order of their ids, which stay beside the numbers as `source_id`; images, which are not COCO's, get ids above
OFFSET. The splits testAB and testBC stay apart from testA, testB and testC. Publishers miss three of the images.
"""

import json
from pathlib import Path
from typing import Any, Final

from barbench.datasets.entries import UNREADABLE, anything, naming, read_size
from barbench.datasets.importers.absent import OTHER, entries, sentence_of
from barbench.datasets.importers.archive import holds_references
from barbench.datasets.importers.pictures import SourceImage
from barbench.datasets.importers.writer import Given, ImportedObject, ImportedReference, Items
from barbench.datasets.pickles import repair_text
from barbench.datasets.pixels import masks
from barbench.errors import UsageError
from barbench.values import listed, read_entries, read_key, text, whole

OFFSET: Final = 2_000_000_000
IMAGES: Final = {"train": 17_978, "val": 2_000, "testA": 485, "testB": 490, "testC": 465, "testAB": 116, "testBC": 86}
"""Of the partition by unc, by split; other counts are not known for certain."""
BERKELEY_IMAGES: Final = {"val": 1_000, "test": 10_000}


def is_refclef(path: Path) -> bool:
    """Whether a file has references of RefCLEF, which its folder's name tells."""
    return holds_references(path, ("refclef", "refclef-berkeley"))


def items(path: Path, given: Given) -> Items:
    """The references of `refs(unc).p` or `refs(berkeley).p`, which has `instances.json` beside it, and in words which
    splits have another number of images than the release."""
    instances = _Instances(path.parent / OTHER)
    used: dict[str, set[int]] = {}
    for place, raw in enumerate(entries(path)):
        with naming(f"{path}, reference {place}"):
            split = repair_text(read_key(raw, "split", text))
            picture = instances.picture(raw.get("image_id"))
            number, annotation = instances.annotation(raw.get("ann_id"))
            segmentation = _united(annotation, picture)
            sentences = [sentence_of(entry) for entry in read_key(raw, "sentences", listed)]
            ref_id = read_key(raw, "ref_id", whole)
            category = read_key(annotation, "category_id", whole, absent=0)
            meant = ImportedObject(segmentation, number, category, source_id=str(raw.get("ann_id")))
        used.setdefault(split, set()).add(picture.number or 0)
        yield ImportedReference(split, picture, meant, sentences, ref_id)
    # The counts of the release tell a copy that lacks some.
    name = given.partition.name
    expected = IMAGES if name == "refclef" else BERKELEY_IMAGES
    for split, count in expected.items():
        found = len(used.get(split, ()))
        if found and found != count:
            yield f"{name} {split} has {found:,} images, the release {count:,}"


class _Instances:
    """Images and annotations by their ids as text; DataError for a file of another form."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise UsageError(f"{path} is not there, which has the masks")
        with naming(f"{path} is not a file of annotations", UNREADABLE):
            raw = json.loads(path.read_bytes())
            images = read_key(raw, "images", listed)
            annotations = read_key(raw, "annotations", listed)
            self._images = dict(read_entries(images, "images", _by_id))
            self._annotations = dict(read_entries(annotations, "annotations", _by_id))
        # Numbers for ids that are text, in the order of the ids.
        self._numbers = {name: number for number, name in enumerate(sorted(self._annotations), 1)}
        self._places = {name: place for place, name in enumerate(sorted(self._images), 1)}

    def picture(self, image_id: Any) -> SourceImage:
        """An image; its id is a number above OFFSET: its own, or its place where it has none."""
        name = str(image_id)
        if name not in self._images:
            raise ValueError(f"{self._path} has no image {name!r}")
        entry = self._images[name]
        number = int(name) if name.isdecimal() else self._places[name]
        return SourceImage(read_key(entry, "file_name", text), None, read_size(entry), OFFSET + number)

    def annotation(self, ann_id: Any) -> tuple[int, dict[str, Any]]:
        """An annotation with its number."""
        name = str(ann_id)
        if name not in self._annotations:
            raise ValueError(f"{self._path} has no annotation {name!r}")
        return self._numbers[name], self._annotations[name]


def _by_id(entry: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return str(read_key(entry, "id", anything)), entry


def _united(annotation: dict[str, Any], picture: SourceImage) -> Any:
    """The segmentation as one code where it is a list of codes."""
    drawn = read_key(annotation, "segmentation", anything)
    if not isinstance(drawn, list) or not all(isinstance(part, dict) for part in drawn):
        return drawn
    assert picture.size is not None
    width, height = picture.size
    parts = [masks.encode(part, height, width).rle for part in drawn]
    return masks.united(parts, height, width).as_json()
