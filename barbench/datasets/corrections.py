"""Other people's corrections of the public sets, by sentence: sentences that were found wrong, and masks drawn anew.

    reviewed labels   JierunChen/Ref-L4 at d62c4f4e, folder refcocos_annotation_reviewed: a file per split in MDETR's
                      form, an entry of `images` and one of `annotations` for each sentence, without its id
    new masks         RefCOCO-M, see `importers.refcoco_m`

Neither is shipped; the user names the files. `barbench rescore` scores stored predictions again with them.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from barbench.datasets.entries import UNREADABLE, naming
from barbench.datasets.importers.refcoco_m import NewMask, read_images
from barbench.datasets.pixels.masks import Rle
from barbench.datasets.references import ReferData, Reference
from barbench.errors import DataError
from barbench.paper.partitions import Partition
from barbench.values import listed, read_entries, read_key, text, whole

LABELS_NAME: Final = "reviewed labels (Ref-L4)"
LABELS_REVISION: Final = "d62c4f4e"
LABELED: Final = {"refcoco": "refcoco", "refcoco+": "refcoco+", "refcocog-u": "refcocog"}
"""The data sets that have such labels, with what their files' names begin with."""
PUBLISHED: Final = frozenset(
    {
        "c61080db850708f343f9bef5f408bc7c358a364d09f9fd843765a6ab0ceb262f",  # RefCOCO+ val
        "9e03439fc8ed189d169d65d6cb6ad455c7798b6de4109a4ebabcf7067b4987f8",  # testA
        "1057944a4a1cc0ce2b8b8ac693be2144f736ee6bba640a656459bbbdc2fdb76f",  # testB
    }
)
"""SHA-256 of the files of LABELS_REVISION, as far as they are known."""
MASKS_NAME: Final = "RefCOCO-M"
MASKED: Final = ("refcoco", "val")
"""The data set and the split that have masks drawn anew."""
SAME_BOX: Final = 0.5
"""The IoU of boxes from which on a new mask is of the same object."""


class Label(NamedTuple):
    """One reviewed sentence of an object; COCO's ids. `keep`: it was found right."""

    image_id: int
    ann_id: int
    caption: str
    keep: bool


class Correction(NamedTuple):
    """What is known of one split.

    Attributes:
        kept: ids of the sentences that count, with the mask that counts in place of the old one; None: the old one.
        unmatched: sentences and labels of which it is not known what belongs to them, in words.
        files: SHA-256 of the files by name.
        notes: for people.
    """

    kept: dict[int, Rle | None]
    unmatched: tuple[str, ...]
    files: dict[str, str]
    notes: tuple[str, ...] = ()


class ReviewedLabels:
    """The labels of a folder with `refcoco_val_reviewed.json` and so on; some may be absent."""

    kind: Final = "labels"
    name: Final = LABELS_NAME

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, partition: Partition, split: str, data: ReferData) -> Correction | None:
        """The sentences of a split that were found right, without new masks; None where the folder has no file for it.
        DataError for a file of another form."""
        if partition.name not in LABELED:
            return None
        path = self.folder / f"{LABELED[partition.name]}_{split}_reviewed.json"
        if not path.is_file():
            return None
        keep, unmatched = pair_labels(read_labels(path), data.split(split).references)
        right: dict[int, Rle | None] = dict.fromkeys(sent_id for sent_id, kept in keep.items() if kept)
        return Correction(right, tuple(unmatched), {path.name: _sha256(path)})

    def revision(self, files: Iterable[str]) -> str:
        """The revision whose files have these hashes; "unknown" where one is not among those that are known."""
        return LABELS_REVISION if set(files) <= PUBLISHED else "unknown"


class NewMasks:
    """The masks of RefCOCO-M."""

    kind: Final = "masks"
    name: Final = MASKS_NAME

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    def of(self, partition: Partition, split: str, data: ReferData) -> Correction | None:
        """The sentences of RefCOCO's val that have a new mask; None for other splits.

        A new mask belongs to a sentence of its image with the same words whose object has the same box, by an IoU of at
        least SAME_BOX. The others are noted, and are no error: the set is a part of val. DataError for a file of
        another form, or a mask of another size than its image.
        """
        if (partition.name, split) != MASKED:
            return None
        # The new masks by image.
        found: dict[int, list[NewMask]] = defaultdict(list)
        sentences = 0
        for file in self.files:
            for image in read_images(file):
                found[image.image_id] += image.masks
                sentences += sum(len(mask.sentences) for mask in image.masks)
        kept: dict[int, Rle | None] = {}
        same_ids = 0
        for reference in data.split(split).references:
            old = data.annotations[reference.ann_id].rle
            for sentence in reference.sentences:
                mask = _new_mask(found.get(reference.image_id, ()), sentence.text, old)
                if mask is None:
                    continue
                if (mask.rle.height, mask.rle.width) != (old.height, old.width):
                    raise DataError(
                        f"the new mask {mask.id} has {mask.rle.height} x {mask.rle.width} pixels, image "
                        f"{reference.image_id} has {old.height} x {old.width}"
                    )
                kept[sentence.sent_id] = mask.rle
                same_ids += mask.id == reference.ann_id
        # How many were found, and of how many the ids agree, which nothing above asked for.
        notes = (
            f"{len(kept):,} of {sentences:,} sentences of {self.name} are found in {partition.title} {split}; for "
            f"{same_ids:,} of them its id is that of the annotation",
        )
        return Correction(kept, (), {file.name: _sha256(file) for file in self.files}, notes)

    def revision(self, files: Iterable[str]) -> str:
        """Not known: there is no list of the files' hashes."""
        return "unknown"


def _new_mask(masks: Iterable[NewMask], text: str, old: Rle) -> NewMask | None:
    """The mask with these words whose box is most like that of the old one; None where no box is like it."""
    words = folded(text)
    alike = []
    for mask in masks:
        if words in map(folded, mask.sentences):
            alike.append((_box_iou(old.box, mask.box), mask.id, mask))
    if not alike or max(alike)[0] < SAME_BOX:
        return None
    return max(alike)[2]


def read_labels(path: Path) -> list[Label]:
    """The labels of one file, one per entry of `annotations`; DataError for a file of another form.

    An entry of `images` has COCO's id as `original_id` and the sentence as `caption`; one of `annotations` the id of
    such an entry as `image_id`, the object's as `original_id`, and 1 or 0 as `caption_quality`.
    """
    with naming(f"{path} does not hold reviewed labels", UNREADABLE):
        return _labels(json.loads(path.read_bytes()))


def _labels(raw: Any) -> list[Label]:
    """The labels in the content of a file; ValueError for content of another form."""
    pictures = dict(read_entries(read_key(raw, "images", listed), "images", _picture))
    labels = []
    for row, ann_id, keep in read_entries(read_key(raw, "annotations", listed), "annotations", _annotation):
        if row not in pictures:
            raise ValueError(f"an annotation is of image {row}, which is not among its images")
        image, caption = pictures[row]
        labels.append(Label(image, ann_id, caption, keep))
    return labels


def _picture(entry: dict[str, Any]) -> tuple[int, tuple[int, str]]:
    """The entry's id; COCO's id of the image, and the sentence."""
    image = read_key(entry, "original_id", whole)
    caption = read_key(entry, "caption", text)
    return read_key(entry, "id", whole), (image, caption)


def _annotation(entry: dict[str, Any]) -> tuple[int, int, bool]:
    quality = read_key(entry, "caption_quality", whole)
    if quality not in (0, 1):
        raise ValueError(f"caption_quality is {quality}, not 0 or 1")
    return read_key(entry, "image_id", whole), read_key(entry, "original_id", whole), quality == 1


def pair_labels(labels: Sequence[Label], references: Iterable[Reference]) -> tuple[dict[int, bool], list[str]]:
    """By sentence id whether it was found right, and in words what was not matched: labels do not have sentences' ids.

    The labels of an object, in the file's order, are those of its sentences in the order of their ids where all words
    are the same; else each is that of the only sentence with its words. Equal sentences of one object with different
    labels belong to none.
    """
    # Labels and sentences by their object.
    given: dict[tuple[int, int], list[Label]] = defaultdict(list)
    for label in labels:
        given[label.image_id, label.ann_id].append(label)
    spoken: dict[tuple[int, int], list[tuple[int, str]]] = defaultdict(list)
    for reference in references:
        for sentence in reference.sentences:
            spoken[reference.image_id, reference.ann_id].append((sentence.sent_id, sentence.text))
    # Object by object; labels of objects without a sentence are left.
    keep: dict[int, bool] = {}
    unmatched = []
    for key, sentences in spoken.items():
        kept, left = _pair_object(given.pop(key, []), sorted(sentences))
        keep |= kept
        unmatched += left
    for several in given.values():
        unmatched += [f"label {label.caption!r} of object {label.ann_id}" for label in several]
    return keep, unmatched


def _pair_object(labels: Sequence[Label], sentences: Sequence[tuple[int, str]]) -> tuple[dict[int, bool], list[str]]:
    """As `pair_labels`, of one object and its sentences (id, text), by ascending id."""
    # Whether the words of labels and sentences are the same one by one, and what labels say of equal words.
    captions = [folded(label.caption) for label in labels]
    spoken = [folded(words) for _, words in sentences]
    in_order = captions == spoken
    qualities: dict[str, set[bool]] = defaultdict(set)
    for label, caption in zip(labels, captions, strict=True):
        qualities[caption].add(label.keep)

    keep: dict[int, bool] = {}
    unmatched = []
    for (sent_id, words), key in zip(sentences, spoken, strict=True):
        # Where the order says nothing, the words must be those of one label and one sentence.
        alone = captions.count(key) == 1 and spoken.count(key) == 1
        found = qualities[key]
        if (in_order or alone) and len(found) == 1:
            keep[sent_id] = next(iter(found))
        else:
            unmatched.append(f"sentence {sent_id} {words!r}")
    for label, caption in zip(labels, captions, strict=True):
        if caption not in spoken:
            unmatched.append(f"label {label.caption!r} of object {label.ann_id}")
    return keep, unmatched


def folded(words: str) -> str:
    """A sentence in lower case, with single blanks between its words."""
    return " ".join(words.lower().split())


def _box_iou(box: tuple[int, int, int, int], other: Sequence[float]) -> float:
    """IoU of a box (left, top, right, bottom) with one (left, top, width, height)."""
    left, top, right, bottom = box
    x, y, width, height = other
    across = min(right, x + width) - max(left, x)
    down = min(bottom, y + height) - max(top, y)
    shared = max(0.0, across) * max(0.0, down)
    area = (right - left) * (bottom - top)
    total = area + width * height - shared
    if total <= 0:
        return 0.0
    return shared / total


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
