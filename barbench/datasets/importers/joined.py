"""Sentences about objects of the release, whose masks come from the root: aRefCOCO and RefCOCOg-Adv. Used by `barbench
data import`.

aRefCOCO (zhenjiemao/aRefCOCO at 0145e6e, CC BY 4.0): `arefcoco.json` with `annotations`, a list of {entity_id, ref_id,
original_dataset (`refcoco`, or `refcocog` as umd divides it), split, descriptions}. Its test objects may be of the
train split of those: `barbench data audit` counts shared images.

RefCOCOg-Adv (Akula et al. 2020; aws/aws-refcocog-adv at a6adfe6, CC BY 4.0): `refcocog_adv_annotations.json`, a dict of
{refID, annID, imgID, raw_str, shuffle, noun, adj, adj_noun, noun_adj, …} about objects of G-Ref's test (umd). `raw_str`
is the sentence, the other fields are what the authors made of it; each is a split of its own.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from barbench.datasets.entries import UNREADABLE, naming
from barbench.datasets.importers.honest import begins_with_keys
from barbench.datasets.importers.pictures import SourceImage
from barbench.datasets.importers.writer import Given, ImportedObject, ImportedReference, Items
from barbench.datasets.refer import read_annotations
from barbench.datasets.references import ReferData, Reference
from barbench.errors import DataError
from barbench.paper.partitions import PAPER_PARTITIONS
from barbench.values import listed, read_key, text, whole

_MEMBERS: Final = {"refcoco": "refcoco", "refcocog": "refcocog-u"}
_FIELDS: Final = {
    "test": "raw_str",
    **{field: field for field in ("shuffle", "noun", "adj", "adj_noun", "noun_adj")},
}
"""Split -> field of RefCOCOg-Adv."""


def is_arefcoco(path: Path) -> bool:
    """Whether a JSON file begins as aRefCOCO's does."""
    return begins_with_keys(path, "original_dataset", "descriptions")


def is_adversarial(path: Path) -> bool:
    """Whether a JSON file begins as RefCOCOg-Adv's does."""
    return begins_with_keys(path, "raw_str", "annID")


def arefcoco(path: Path, given: Given) -> Items:
    """The references of aRefCOCO; the root has RefCOCO and G-Ref (umd), as far as the file names them."""
    members = _Members(given.root)
    raw = _loaded(path)
    with naming(f"{path} is not aRefCOCO"):
        entries = read_key(raw, "annotations", listed)
    for place, entry in enumerate(entries):
        with naming(f"{path}, annotation {place}"):
            name = read_key(entry, "original_dataset", text)
            data = members.of(name)
            reference = members.reference(name, read_key(entry, "ref_id", whole))
            sentences = [text(sentence) for sentence in read_key(entry, "descriptions", listed)]
            yield _joined(data, reference, read_key(entry, "split", text), sentences)


def adversarial(path: Path, given: Given) -> Items:
    """The references of RefCOCOg-Adv, of each entry one per split; the root has G-Ref (umd)."""
    members = _Members(given.root)
    empty: Counter[str] = Counter()
    raw = _loaded(path)
    if not isinstance(raw, dict):
        raise DataError(f"{path} is not RefCOCOg-Adv: it is a {type(raw).__name__}, not a dict")
    for key, entry in raw.items():
        with naming(f"{path}, {key!r}"):
            data = members.of("refcocog")
            reference = members.reference("refcocog", read_key(entry, "refID", whole))
            # The object is that of the release; each text of the entry is a reference in a split of its own.
            _agree(entry, reference)
            for split, field in _FIELDS.items():
                sentence = read_key(entry, field, text, absent="").strip()
                if sentence:
                    yield _joined(data, reference, split, [sentence])
                else:
                    empty[split] += 1
    for split, count in empty.items():
        yield f"{count:,} sentences of {split} are empty and left out"


class _Members:
    """The data sets of a root, each read when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._data: dict[str, ReferData] = {}
        self._references: dict[str, dict[int, Reference]] = {}

    def of(self, name: str) -> ReferData:
        """A data set by the name that a source gives it; ValueError for another name."""
        if name not in _MEMBERS:
            raise ValueError(f"'original_dataset' is {name!r}, not {' or '.join(_MEMBERS)}")
        if name not in self._data:
            data = read_annotations(self._root, PAPER_PARTITIONS.get(_MEMBERS[name]))
            self._data[name] = data
            self._references[name] = {reference.ref_id: reference for reference in data.references}
        return self._data[name]

    def reference(self, name: str, ref_id: int) -> Reference:
        """One of its references; ValueError where there is none."""
        data = self.of(name)
        if ref_id not in self._references[name]:
            raise ValueError(f"{data.root} has no reference {ref_id} of {data.partition.name}")
        return self._references[name][ref_id]


def _agree(entry: dict[str, Any], reference: Reference) -> None:
    """ValueError where the ids of an entry of RefCOCOg-Adv are not those of its reference in the release."""
    for name, found in (("annID", reference.ann_id), ("imgID", reference.image_id)):
        if read_key(entry, name, whole) != found:
            raise ValueError(f"{name!r} is {entry[name]}, and reference {reference.ref_id} has {found}")


def _joined(data: ReferData, reference: Reference, split: str, sentences: list[str]) -> ImportedReference:
    """A reference to the same object, with other sentences; the pixels of its mask stay."""
    image = data.images[reference.image_id]
    code = data.annotations[reference.ann_id].rle.as_json()
    return ImportedReference(
        split,
        SourceImage(image.path.name, None, (image.width, image.height)),
        ImportedObject(code, reference.ann_id, category_name=reference.category),
        [(None, sentence) for sentence in sentences],
    )


def _loaded(path: Path) -> Any:
    with naming(f"{path} is not JSON that can be read", UNREADABLE):
        return json.loads(path.read_bytes())
