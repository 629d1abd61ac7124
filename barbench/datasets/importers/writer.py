"""Writes references from any source as a REFER folder. Used by every module of `datasets.importers`.

Images are written as they come, the two files of annotations at the end, each whole or not at all. So an import that
was interrupted is started again with the same command: images that are there already are compared and kept. A file that
holds something else is never overwritten.
"""

import json
import pickle
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from barbench.datasets.importers.instances import Instances
from barbench.datasets.importers.pictures import SourceImage, coco_id, digest, layout_size, place_image
from barbench.datasets.outlines import checked_polygons
from barbench.datasets.pixels import masks
from barbench.datasets.refer import IMAGE_FOLDERS, NO_TARGET, data_files
from barbench.datasets.untrusted import image_size
from barbench.errors import DataError, MissingData, UsageError
from barbench.files import write_atomically
from barbench.paper.partitions import Partition

COCO_FOLDERS = ("train2014", "val2014")


class ImportedObject(NamedTuple):
    """One object of a source.

    Attributes:
        segmentation: COCO's polygons or RLE, or uint8 (H, W) with the object where it is not 0.
        ann_id: None where the source has none; equal masks of an image are one annotation then.
        category: id in the data set's categories; 0 where the source has none.
        category_name: where the source has names and no ids.
        source_id: the annotation's id in the source, where that is no whole number; it is kept beside the new one.
    """

    segmentation: Any
    ann_id: int | None = None
    category: int = 0
    category_name: str = ""
    source_id: str = ""


class ImportedReference(NamedTuple):
    """One reference of a source.

    Attributes:
        split: as the partition names it.
        meant: the object; a list where an expression can mean several or none.
        sentences: each with its id, or None where the source has none.
        ref_id: None where the source has none.
        where: file and row, for errors; "" where the source has none.
        group: number of the references that are scored together, where a source has some.
    """

    split: str
    picture: SourceImage
    meant: ImportedObject | list[ImportedObject]
    sentences: Sequence[tuple[int | None, str]]
    ref_id: int | None = None
    where: str = ""
    group: int | None = None


Items = Iterator[ImportedReference | str]
"""The references of a file, and in words what is left out of it."""


class Given(NamedTuple):
    """What a file of a source is read with.

    Attributes:
        partition: whose references it has.
        root: that is written; other data sets may be there.
        images: a folder with the images that the source itself does not hold; None where the user names none.
        instances: of a file of COCO's annotations; None where the user names none.
    """

    partition: Partition
    root: Path
    images: Path | None
    instances: Instances | None


class IdAllocator:
    """Ids of one kind, each given once: a source's own where it is free, else the next from 1 on."""

    def __init__(self) -> None:
        self._given: set[int] = set()
        self._next = 1

    def take(self, wanted: int | None) -> int:
        """Give an id: `wanted`, or another one where that is None or given already."""
        if wanted is None or wanted in self._given:
            while self._next in self._given:
                self._next += 1
            wanted = self._next
        self._given.add(wanted)
        return wanted


class ReferWriter:
    """The files of one partition under a root, while they are made; UsageError where they are there already."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.folder = given.root / IMAGE_FOLDERS[0]
        self.missing: dict[str, None] = {}  # names of images, in the order of the source
        home = given.root / given.partition.folder
        self._refs_path = home / given.partition.refs_file
        self._instances_path = home / given.partition.instances_file
        refuse(self._refs_path)
        self._categories = dict(given.instances.categories) if given.instances else {}
        self._images: dict[str, dict[str, Any]] = {}
        self._written: dict[str, Path | bytes] = {}  # the file or the digest of each, to notice another of its name
        self._annotations: dict[int, dict[str, Any]] = {}
        self._by_mask: dict[tuple[int, bytes], int] = {}
        self._refs: list[dict[str, Any]] = []
        self._image_ids = IdAllocator()
        self._ann_ids = IdAllocator()
        self._ref_ids = IdAllocator()
        self._sent_ids = IdAllocator()

    def add(self, item: ImportedReference) -> None:
        """Write the image of a reference, and keep the rest for `finish`. ValueError where the segmentation or the
        image cannot be read, DataError where another file has the image's place."""
        image = self._image(item.picture)
        targets: dict[str, Any] = {}
        if isinstance(item.meant, ImportedObject):
            targets["ann_id"] = self._annotation(item.meant, image)
            targets["category_id"] = self._category(item.meant)
        else:
            # As gRefCOCO's files have them.
            targets["ann_id"] = [self._annotation(each, image) for each in item.meant] or [NO_TARGET]
            targets["category_id"] = [self._category(each) for each in item.meant] or [NO_TARGET]
        if item.group is not None:
            targets["group_id"] = item.group
        # The source's numbers, where they are free.
        ref_id = self._ref_ids.take(item.ref_id)
        sentences = [self._sentence(*sentence) for sentence in item.sentences]
        self._refs.append(
            {
                "ref_id": ref_id,
                **targets,
                "image_id": image["id"],
                "split": item.split,
                "file_name": image["file_name"],
                "sent_ids": [sentence["sent_id"] for sentence in sentences],
                "sentences": sentences,
            }
        )

    def finish(self) -> None:
        """Write the two files; UsageError where there is nothing to write, or another import has left other annotations
        there."""
        if not self._refs:
            raise UsageError(f"the source has no reference of {self.given.partition.name}")
        # Categories that occur, by the source's names or by number.
        categories = {entry["category_id"] for entry in self._annotations.values()}
        instances = {
            "images": list(self._images.values()),
            "annotations": list(self._annotations.values()),
            "categories": [{"id": c, "name": self._categories.get(c, str(c))} for c in sorted(categories)],
        }
        # Two partitions may share a file of annotations, as G-Ref's do.
        if self._instances_path.exists():
            _agree(instances, self._instances_path)
        else:
            write_atomically(self._instances_path, json.dumps(instances).encode())
        write_atomically(self._refs_path, pickle.dumps(self._refs, 2))

    def _image(self, picture: SourceImage) -> dict[str, Any]:
        """The entry of an image, which is written where it is new."""
        if picture.name in self._images:
            self._refuse_another(picture)
            return self._images[picture.name]
        number = picture.number or coco_id(picture.name)
        width, height = self._placed(picture, number)
        # An image that cannot be used takes no id.
        entry = {"id": self._image_ids.take(number), "file_name": picture.name, "width": width, "height": height}
        self._images[picture.name] = entry
        return entry

    def _placed(self, picture: SourceImage, number: int | None) -> tuple[int, int]:
        """Put an image into the layout; its width and height are those of its file, else those that the source says,
        else those of the file that is in the layout already."""
        name = picture.name
        data = picture.data
        if data is None and self.given.images is not None:
            data = _given_file(self.given.images, name, number)
        # Its own file.
        if data is not None:
            size = layout_size(data, name, self.given.partition.exif)
            if picture.size is not None and picture.size != size:
                found = f"{size[0]}x{size[1]}"
                raise ValueError(f"{name} has {found} pixels, the source says {picture.size[0]}x{picture.size[1]}")
            place_image(self.folder, name, data)
            if picture.data is not None:
                self._written[name] = data if isinstance(data, Path) else digest(data)
            return size
        # No file: the annotations are written all the same, and the image can be added.
        if picture.size is not None:
            if not any((self.given.root / folder / name).is_file() for folder in IMAGE_FOLDERS):
                self.missing[name] = None
            return image_size(*picture.size)
        if (self.folder / name).is_file():
            return layout_size(self.folder / name, name, self.given.partition.exif)
        where = f"in {self.given.images}" if self.given.images else "in the source; name their folder with --images"
        raise MissingData(f"the image {name} is not {where}")

    def _refuse_another(self, picture: SourceImage) -> None:
        """ValueError for an image that has the name of another one."""
        known = self._written.get(picture.name)
        if known is None or picture.data is None or picture.data == known:
            return
        if isinstance(known, Path):
            known = digest(known)
            self._written[picture.name] = known
        if digest(picture.data) != known:
            raise ValueError(
                f"the source has two images that differ under the name {picture.name}; one of them needs another name"
            )

    def _category(self, item: ImportedObject) -> int:
        """The id of an object's category; of one that the source names, it is new where the name is."""
        if not item.category_name:
            return item.category
        for number, known in self._categories.items():
            if known == item.category_name:
                return number
        number = max(self._categories, default=0) + 1
        self._categories[number] = item.category_name
        return number

    def _annotation(self, item: ImportedObject, image: dict[str, Any]) -> int:
        """The id of the object's annotation, which is kept where it is new."""
        if item.ann_id is not None and item.ann_id in self._annotations:
            return item.ann_id
        # The mask: drawn, or in COCO's form.
        segmentation = item.segmentation
        if isinstance(segmentation, np.ndarray):
            rle = _drawn_code(segmentation, image)
            segmentation = rle.as_json()
        else:
            segmentation = checked_polygons(segmentation, image["width"], image["height"])
            rle = masks.encode(segmentation, image["height"], image["width"]).rle
        # Without an id of the source's, equal masks of an image are one annotation.
        key = (image["id"], rle.counts)
        if item.ann_id is None and key in self._by_mask:
            return self._by_mask[key]
        # COCO's entry.
        ann_id = self._ann_ids.take(item.ann_id)
        left, top, right, bottom = rle.box
        self._by_mask[key] = ann_id
        self._annotations[ann_id] = {
            "id": ann_id,
            "image_id": image["id"],
            "category_id": self._category(item),
            "iscrowd": 0,
            "area": rle.area,
            "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
            "segmentation": segmentation,
        }
        if item.source_id:
            self._annotations[ann_id]["source_id"] = item.source_id
        return ann_id

    def _sentence(self, number: int | None, text: str) -> dict[str, Any]:
        return {"sent_id": self._sent_ids.take(number), "sent": text, "raw": text, "tokens": text.split()}


def _drawn_code(mask: NDArray[Any], image: dict[str, Any]) -> masks.Rle:
    """The code of a mask (H, W); ValueError for one that is not as large as its image."""
    size = (image["height"], image["width"])
    if mask.shape == size:
        return masks.from_mask((mask != 0).astype(np.uint8))
    found = "x".join(map(str, mask.shape[1::-1]))
    hint = ""
    if mask.shape == size[::-1]:
        hint = ": was it drawn on the image as its EXIF turns it? Say so with --exif apply"
    raise ValueError(f"its mask has {found} pixels, {image['file_name']} has {image['width']}x{image['height']}{hint}")


def _given_file(folder: Path, name: str, number: int | None) -> Path | None:
    """An image in the folder that the user named, or in COCO's folders in it: by its name, or by the one that COCO 2017
    gives the same image."""
    candidates = [name, *(f"{part}/{name}" for part in COCO_FOLDERS)]
    if number is not None:
        candidates.append(f"{number:012}.jpg")
    for candidate in candidates:
        if (folder / candidate).is_file():
            return folder / candidate
    return None


def refuse(path: Path) -> None:
    """UsageError where a file is that would be written."""
    if path.exists():
        raise UsageError(f"{path} is there already, and an import overwrites nothing: name another folder")


def _agree(ours: dict[str, Any], path: Path) -> None:
    """Raise UsageError unless the file at `path` holds all entries of `ours` as they are."""
    try:
        theirs = json.loads(path.read_bytes())
        for kind in ("images", "annotations"):
            held = {entry["id"]: entry for entry in theirs[kind]}
            for entry in ours[kind]:
                same = held.get(entry["id"], {})
                if any(same.get(key) != entry[key] for key in entry.keys() & {"image_id", "file_name", "segmentation"}):
                    raise UsageError(
                        f"{path} is there already without the {kind[:-1]} {entry['id']} as this source has it, and an "
                        "import overwrites nothing: name another folder"
                    )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is there already and is not a COCO instances file: {error}") from error


def present(root: Path, partitions: Iterable[Partition]) -> list[Partition]:
    """Those partitions of which a root has both files."""
    found = []
    for partition in partitions:
        try:
            data_files(root, partition)
        except MissingData:
            continue
        found.append(partition)
    return found
