"""The folders that CRIS, ETRIS and their kin make: `anns/`, `masks/` and `images/`. Used by `barbench data import`.

As `tools/data_process.py` of DerrickWang005/CRIS.pytorch writes them at 664b984: `anns/<data set>/<split>.json` is a
list of {bbox, cat, segment_id, img_name, sentences: [{idx, sent_id, sent}], sentences_num}, `masks/<data set>/
<segment_id>.png` the object in the image's own pixels, 0 or 255 (254 where two of its polygons overlap: 2 * 255 in
eight bits). `segment_id` is the release's ref_id; `cat` numbers COCO's 80 categories from 0. No ann_id is kept.
"""

import json
from pathlib import Path
from typing import Any

from barbench.datasets.entries import UNREADABLE, naming, read_sentence, refuse_absent
from barbench.datasets.importers.mask_file import decode_mask
from barbench.datasets.importers.names import known_split
from barbench.datasets.importers.pictures import SourceImage, coco_name
from barbench.datasets.importers.writer import Given, ImportedObject, ImportedReference, Items
from barbench.errors import MissingData
from barbench.values import listed, read_entries, read_key, text, whole

ABSENT = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
COCO_CATEGORIES = tuple(number for number in range(1, 91) if number not in ABSENT)
"""COCO's category ids in order: place i is the category that these sources call i."""


def items(path: Path, given: Given) -> Items:
    """The references of a file `anns/<data set>/<split>.json`; images are in `images/train2014` beside `anns`, unless
    another folder is given."""
    split = known_split(path.stem, given.partition)
    if split is None:
        yield f"{path.name} is left out: {path.stem} is no split of {given.partition.name}"
        return
    # Masks and images lie beside `anns`.
    home = path.parent.parent.parent
    masks = home / "masks" / path.parent.name
    pictures = given.images or home / "images" / "train2014"
    if not masks.is_dir():
        raise MissingData(f"{path} has its masks in {masks}, which is not there")
    with naming(f"{path} is not a list in JSON", UNREADABLE):
        entries = listed(json.loads(path.read_bytes()))
    for number, entry in enumerate(entries):
        with naming(f"{path}, entry {number}"):
            refuse_absent(entry)
            yield _item(entry, split, masks, pictures)


def has_masks(path: Path) -> bool:
    """Whether a JSON file is of this form: `anns/<data set>/<split>.json` with a folder of masks beside `anns`."""
    folder = path.parent
    if folder.parent.name != "anns":
        return False
    return (folder.parents[1] / "masks" / folder.name).is_dir()


def _item(entry: Any, split: str, masks: Path, pictures: Path) -> ImportedReference:
    # The picture, whose name may have the suffix of an annotation.
    name = read_key(entry, "img_name", text)
    if not (pictures / name).is_file():
        name = coco_name(name)
    # The mask, by the reference's number.
    number = read_key(entry, "segment_id", whole)
    file = masks / f"{number}.png"
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise MissingData(f"the mask {file} is not there") from None
    mask = decode_mask(data, file.name)
    sentences = read_entries(read_key(entry, "sentences", listed), "sentences", read_sentence)
    meant = ImportedObject(mask, category=read_key(entry, "cat", coco_category, absent=0))
    picture = pictures / name
    image = SourceImage(name, picture if picture.is_file() else None)
    return ImportedReference(split, image, meant, sentences, ref_id=number)


def coco_category(number: Any) -> int:
    """COCO's id of one of its 80 categories, counted from 0; 0 where the source has no category. ValueError for
    anything but a number from 0 to 79."""
    if number is None:
        return 0
    place = whole(number)
    if not 0 <= place < len(COCO_CATEGORIES):
        raise ValueError(f"{place} is none of COCO's {len(COCO_CATEGORIES)} categories, counted from 0")
    return COCO_CATEGORIES[place]
