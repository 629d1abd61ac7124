"""MDETR's JSON, which many detectors train from, and mmdetection's ODVG lines. Used by `barbench data import`.

MDETR (scripts/fine-tuning/refexp_coco_format.py of ashkamath/mdetr at 8cbe208): `finetune_<data set>_<split>.json` is a
COCO file whose `images` has an entry per sentence, {file_name, height, width, id, original_id, caption, …}, and whose
`annotations` has one for each, {image_id, id, bbox, original_id (COCO's ann_id), category_id, …}, in the order of the
release: sentences of one reference follow one another. ODVG (tools/dataset_converters/refcoco2odvg.py of mmdetection):
`finetune_<data set>_<split>_vg.json`, a line per sentence, {filename, height, width, grounding: {caption, regions:
[{bbox: [x1, y1, x2, y2], …}]}}.

Both have boxes and no masks: these come from COCO's annotations, by id or by box.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from barbench.datasets.entries import anything, naming, read_size
from barbench.datasets.importers.honest import begins_with_keys, read_head
from barbench.datasets.importers.instances import Instances
from barbench.datasets.importers.names import known_split
from barbench.datasets.importers.pictures import SourceImage, coco_name
from barbench.datasets.importers.writer import Given, ImportedObject, ImportedReference, Items
from barbench.errors import UsageError
from barbench.values import listed, number, read_entries, read_key, text, whole


class SentenceEntry(NamedTuple):
    """One entry: its id if it has one, its text, its image, and the object's annotation in COCO."""

    number: int | None
    text: str
    picture: SourceImage
    annotation: dict[str, Any]


def items(path: Path, given: Given) -> Items:
    """The references of a file `finetune_…_<split>.json` or `…_<split>_vg.json`; objects are in COCO's annotations,
    where the file has none of its own."""
    split = known_split(path.stem.removesuffix("_vg").split("_")[-1], given.partition)
    if split is None:
        yield f"{path.name} is left out: its name ends in no split of {given.partition.name}"
        return
    with naming(str(path)):
        # Entries of one object that follow each other are one reference.
        for _, group in groupby(_sentences(path, given.instances), key=lambda s: s.annotation["id"]):
            sentences = list(group)
            annotation = sentences[0].annotation
            meant = ImportedObject(
                read_key(annotation, "segmentation", anything),
                annotation["id"],
                read_key(annotation, "category_id", whole, absent=0),
            )
            yield ImportedReference(split, sentences[0].picture, meant, [(s.number, s.text) for s in sentences])


def is_mdetr(path: Path) -> bool:
    """Whether a file begins as MDETR's JSON or ODVG lines do."""
    if path.name.startswith("finetune_"):
        return True
    return begins_with_keys(path, "images", "caption", "original_id") or begins_with_keys(path, "grounding")


def _sentences(path: Path, instances: Instances | None) -> Iterator[SentenceEntry]:
    # The first bytes tell which of the two forms it is.
    if b'"grounding"' in read_head(path, 1 << 16):
        yield from _odvg(path, _given(path, instances))
        return
    try:
        raw = json.loads(path.read_bytes())
        images = read_key(raw, "images", listed)
        pairs = read_entries(
            read_key(raw, "annotations", listed),
            "annotations",
            lambda entry: (read_key(entry, "image_id", whole), entry),
        )
        objects = dict(pairs)
        counts = Counter(number for number, _ in pairs)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not MDETR's JSON: {error}") from error
    # An image entry per sentence, with the one annotation that has its id.
    for place, entry in enumerate(images):
        try:
            own_id = read_key(entry, "id", whole)
            if counts[own_id] != 1:
                count = counts[own_id]
                raise ValueError(f"expected exactly one object, found {count}: gRefCOCO comes as grefs(unc).json")
            # Its mask is in the file, or in COCO's annotations under COCO's id.
            own = objects[own_id]
            ann_id = read_key(own, "original_id", whole, absent=own_id)
            annotation = own if own.get("segmentation") else _given(path, instances).get(ann_id)
            caption = read_key(entry, "caption", text)
            picture = _picture(read_key(entry, "file_name", text), entry)
            yield SentenceEntry(own_id, caption, picture, {**annotation, "id": ann_id})
        except ValueError as error:
            raise ValueError(f"image entry {place}: {error}") from error


def _odvg(path: Path, instances: Instances) -> Iterator[SentenceEntry]:
    for place, entry in enumerate(json_lines(path)):
        try:
            grounding = read_key(entry, "grounding", anything)
            regions = read_key(grounding, "regions", listed)
            boxes = [read_key(region, "bbox", listed) for region in regions]
            if len(boxes) != 1 or len(boxes[0]) != 4:
                raise ValueError(f"expected exactly one region with one box, found {len(boxes)} regions")
            name = read_key(entry, "filename", text)
            # COCO's boxes have sides where these have a second corner.
            x1, y1, x2, y2 = map(number, boxes[0])
            annotation = instances.at(coco_name(name), [x1, y1, x2 - x1, y2 - y1])
            caption = read_key(grounding, "caption", text)
            yield SentenceEntry(None, caption, _picture(name, entry), annotation)
        except ValueError as error:
            raise ValueError(f"line {place + 1}: {error}") from error


def _picture(name: str, entry: dict[str, Any]) -> SourceImage:
    return SourceImage(coco_name(name), None, read_size(entry))


def _given(path: Path, instances: Instances | None) -> Instances:
    if instances is None:
        raise UsageError(
            f"{path} has boxes and no masks; give the annotations of COCO, or of the release, with --instances FILE"
        )
    return instances


def json_lines(path: Path) -> Iterable[Any]:
    """The value of each line of a file of JSON lines, without empty ones; ValueError if a line is no JSON: its number
    is named."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"line {number} is no JSON: {error}") from error
