"""REFER files whose sentences may mean nothing in their image: R-RefCOCO and Ref-ZOM. Used by `barbench data import`.

R-RefCOCO, + and g (jianzongwu/robust-ref-seg at e7c7da6): `rrefcoco/refs(unc).p` and `instances.json`; a sentence
with `exist: false` means nothing, one without the key means the reference's object. Such a reference becomes two, one
with the object and one without, under one `group_id`, because the set's own metrics are means over references.

Ref-ZOM (toggle1995/RIS-DMMI at 753cd60): `ref-zom/refs(final).p` and `instances.json`; `ann_id` is an id or a list, and
a reference with `source: zero` means nothing, whatever its `ann_id` says. Images are of train2014 and val2014.

Both are written as gRefCOCO's files are.
"""

import json
from pathlib import Path
from typing import Any

from barbench.datasets.entries import ABSENT, UNREADABLE, anything, naming
from barbench.datasets.importers.archive import holds_references
from barbench.datasets.importers.instances import Instances
from barbench.datasets.importers.pictures import SourceImage, coco_name
from barbench.datasets.importers.writer import Given, ImportedObject, ImportedReference, Items
from barbench.datasets.pickles import load_plain, repair_text
from barbench.errors import UsageError
from barbench.paper.partitions import EVALUATION_SETS
from barbench.values import listed, read_key, shown, text, whole

OTHER = "instances.json"
OFFSET = 1_000_000_000
"""From a reference's id to that of its sentences that mean nothing."""


def is_absent(path: Path) -> bool:
    """Whether a file has the references of such a data set, which its folder's name tells."""
    return holds_references(path, [each.name for each in EVALUATION_SETS if each.allows_no_target])


def items(path: Path, given: Given) -> Items:
    """The references of one file, `refs(…).p` or its list as JSON, whose annotations are given or beside it."""
    annotations = given.instances or beside(path)
    for place, raw in enumerate(entries(path)):
        where = f"{path}, reference {place}"
        with naming(where):
            split = repair_text(read_key(raw, "split", text))
            image = annotations.image(read_key(raw, "image_id", whole))
            picture = SourceImage(coco_name(image.name), None, (image.width, image.height), image.number)
            present, absent = _sentences(raw)
            objects = [_object(annotations, ann_id) for ann_id in _targets(raw)]
            ref_id = read_key(raw, "ref_id", whole)
        # Sentences that mean an object and sentences that mean nothing are two references of one group.
        if present:
            yield ImportedReference(split, picture, objects, present, ref_id, where, group=ref_id)
        if absent:
            own = ref_id + OFFSET if present else ref_id
            yield ImportedReference(split, picture, [], absent, own, where, group=ref_id)


def beside(path: Path) -> Instances:
    """The annotations beside a references file; UsageError where they are not there."""
    if not (path.parent / OTHER).is_file():
        raise UsageError(f"{path} has no {OTHER} beside it: name the file of annotations with --instances")
    return Instances(path.parent / OTHER)


def entries(path: Path) -> list[Any]:
    """The entries of a references file; DataError where it is none."""
    with naming(f"{path} does not hold REFER references", UNREADABLE):
        raw = json.loads(path.read_bytes()) if path.suffix == ".json" else load_plain(path)
        return listed(raw)


def sentence_of(raw: Any) -> tuple[int | None, str]:
    """The id of a sentence, None where it has none that is a whole number, and its text."""
    written = raw.get("sent", raw.get("raw")) if isinstance(raw, dict) else None
    if written is None:
        raise ValueError(f"a sentence has neither 'sent' nor 'raw': {shown(raw)}")
    try:
        number: int | None = read_key(raw, "sent_id", whole)
    except ValueError:
        number = None
    return number, repair_text(text(written))


def _sentences(raw: Any) -> tuple[list[tuple[int | None, str]], list[tuple[int | None, str]]]:
    """Those that mean the objects, and those that mean nothing."""
    zero = raw.get("source") in ABSENT["source"]
    present = []
    absent = []
    for entry in read_key(raw, "sentences", listed):
        sentence = sentence_of(entry)
        if zero or entry.get("exist", True) in ABSENT["exist"]:
            absent.append(sentence)
        else:
            present.append(sentence)
    return present, absent


def _targets(raw: Any) -> list[int]:
    """Ids of what the reference means; none where it means nothing."""
    if raw.get("source") in ABSENT["source"]:
        return []
    value = read_key(raw, "ann_id", anything)
    ids = value if isinstance(value, list | tuple) else [value]
    return list(dict.fromkeys(whole(each) for each in ids))


def _object(annotations: Instances, ann_id: int) -> ImportedObject:
    entry = annotations.get(ann_id)
    return ImportedObject(entry["segmentation"], ann_id, read_key(entry, "category_id", whole, absent=0))
