"""Reads a REFER folder: references, sentences, images, masks. `barbench data verify ROOT` checks one."""

import gc
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from barbench.datasets.entries import UNREADABLE, naming, read_categories, read_sentence, read_size, refuse_absent
from barbench.datasets.outlines import all_between_0_and_1, flat_polygons
from barbench.datasets.pickles import load_plain, repair_text
from barbench.datasets.pixels import masks
from barbench.datasets.pixels.images import ImageInfo
from barbench.datasets.problems import Problems
from barbench.datasets.references import NO_CATEGORY, Annotation, ReferData, Reference, Sentence
from barbench.errors import DataError, MissingData
from barbench.paper.partitions import Partition
from barbench.values import listed, read_entries, read_key, text, whole

T = TypeVar("T")

NO_TARGET = -1  # gRefCOCO's annotation of nothing
OTHER_SUFFIX = {".p": ".json", ".json": ".p"}  # of a references file
IMAGE_FOLDERS = ("images/train2014", "images/mscoco/images/train2014")
LAYOUT = """The layout is the public one (the .p files and instances.json of the REFER release, the images of COCO):
  ROOT/
    refcoco/   refs(unc).p  instances.json
    refcoco+/  refs(unc).p  instances.json
    refcocog/  refs(umd).p  refs(google).p  instances.json
    images/train2014/COCO_train2014_*.jpg     (or images/mscoco/images/train2014/)
Where copies of the data are known to be is in docs/data.md; `barbench data import SOURCE ROOT` makes this layout from
zips, Parquet, LMDB, folders of masks, MDETR's JSON and tables of one's own."""


def read_refer(root: Path, partition: Partition) -> ReferData:
    """Read one partition. References that cannot be used are left out and noted in `problems`.

    Args:
        root: a folder in the public layout (LAYOUT).
        partition: which partition of which dataset.

    Returns:
        References, images and masks of all splits.

    Raises:
        MissingData: if a file is absent; the message says which, where it was looked for, and the layout.
        DataError: if a file is unusable.
    """
    return _read(root, partition, need_images=True)


def read_annotations(root: Path, partition: Partition) -> ReferData:
    """As `read_refer`, of a root whose images need not be there; those that are absent have the path that is expected.

    Args:
        root: a folder in REFER layout.
        partition: what to read.

    Returns:
        References and annotations.

    Raises:
        MissingData: if the references or the annotations are absent.
        DataError: if a file is unusable.
    """
    return _read(root, partition, need_images=False)


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Pause the garbage collector: half a million objects are made and all are kept, and searching them doubles the
    time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _own_id(ref_id: int) -> int:
    """The id of a reference's own annotation, where no annotation of the file has just its pixels."""
    return -2 - ref_id


@_collector_at_rest()
def _read(root: Path, partition: Partition, need_images: bool) -> ReferData:
    refs_path, instances_path = data_files(root, partition)
    problems = Problems()
    instances = _read_instances(instances_path)
    references = _references(refs_path, lambda raw: _reference(raw, instances.categories, partition.allows_no_target))
    usable = [reference for reference in references if _usable(reference, instances, problems)]
    entries = {reference.image_id: instances.images[reference.image_id] for reference in usable}
    images = _images(root, instances_path, partition.exif == "apply", entries, need_images)

    # The masks, in the order of the references, so that equal files give equal tables.
    annotations: dict[int, Annotation] = {}
    kept: list[Reference] = []
    for reference in usable:
        image = images[reference.image_id]
        where = f"{reference.split} reference {reference.ref_id}"
        for target in reference.targets:
            if target not in annotations:
                annotations[target] = _annotation(instances.annotations[target], image, instances_path, problems)

        # What is meant: the object, or in gRefCOCO the union of several, without crowds.
        drawn = reference.targets
        if partition.allows_no_target:
            drawn = tuple(t for t in reference.targets if not instances.annotations[t].get("iscrowd"))
        if len(drawn) < len(reference.targets):
            problems.note("crowd among the objects meant", where)
            reference = reference._replace(ann_id=_own_id(reference.ref_id))
        kept.append(reference)
        if reference.ann_id not in annotations:
            parts = [annotations[target].rle for target in drawn]
            rle = masks.united(parts, image.height, image.width)
            annotations[reference.ann_id] = Annotation(reference.ann_id, image.image_id, rle, rle.area)
        if reference.targets and annotations[reference.ann_id].area == 0:
            problems.note("empty mask", where)

    # What else is in the images that are evaluated, as a prediction may show that instead.
    everything = _everything(kept, images, instances, annotations, problems)
    return ReferData(root, partition, tuple(kept), images, annotations, problems, everything, instances.categories)


class Outline(NamedTuple):
    """A reference as the references file alone gives it, whether it can be used or not.

    Attributes:
        split: train, val, testA, …
        image_id: COCO's.
        sentences: how many.
    """

    split: str
    image_id: int
    sentences: int


def read_outline(root: Path, partition: Partition) -> list[Outline]:
    """Read every entry of the references file: takes a second where `read_refer` takes many.

    Args:
        root: a folder in the public layout (LAYOUT).
        partition: which partition of which dataset.

    Returns:
        One outline per entry, in the file's order.

    Raises:
        MissingData: if a file is absent.
        DataError: if the references file is unusable.
    """
    refs_path, _ = data_files(root, partition)
    return _references(refs_path, _outline)


def _outline(raw: dict[str, Any]) -> Outline:
    split = read_key(raw, "split", text)
    image_id = read_key(raw, "image_id", whole)
    sentences = read_key(raw, "sentences", listed)
    return Outline(split, image_id, len(sentences))


def data_files(root: Path, partition: Partition) -> tuple[Path, Path]:
    """The references file and the instances file of a partition.

    The references may be a pickle or JSON: without grefs(unc).json, grefs(unc).p is read, and the other way round.

    Args:
        root: a folder in the public layout (LAYOUT).
        partition: which partition of which dataset.

    Returns:
        Both paths.

    Raises:
        MissingData: if one of them is absent; the message shows the layout.
    """
    refs_path = root / partition.folder / partition.refs_file
    instances_path = root / partition.folder / partition.instances_file
    if not refs_path.is_file():
        other = refs_path.with_suffix(OTHER_SUFFIX.get(refs_path.suffix, refs_path.suffix))
        if other.is_file():
            refs_path = other
    for path in (refs_path, instances_path):
        if not path.is_file():
            raise MissingData(f"no {path.name} for {partition.name}: looked for {path}.\n{LAYOUT}")
    return refs_path, instances_path


@dataclass(frozen=True)
class _Instances:
    images: dict[int, dict[str, Any]]
    annotations: dict[int, dict[str, Any]]
    categories: dict[int, str]


def _read_instances(path: Path) -> _Instances:
    with naming(f"{path} is not a COCO instances file", UNREADABLE):
        raw = json.loads(path.read_bytes())
        images = _table(raw, "images")
        annotations = _table(raw, "annotations")
        categories = read_categories(raw)
    # A table by ids is shorter than its list where an id occurs twice.
    for kind, table in (("images", images), ("annotations", annotations)):
        if len(table) < len(raw[kind]):
            counts = Counter(whole(entry["id"]) for entry in raw[kind])
            twice = [number for number, count in counts.items() if count > 1]
            raise DataError(f"{path}: {len(twice)} ids occur twice among its {kind}, the first is {twice[0]}")
    return _Instances(images, annotations, categories)


def _table(raw: Any, kind: str) -> dict[int, dict[str, Any]]:
    """The entries of a list of instances.json by their id, with each `image_id` as a whole number."""
    entries = read_key(raw, kind, listed)
    return dict(read_entries(entries, kind, _entry))


def _entry(entry: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    number = read_key(entry, "id", whole)
    image_id = entry.get("image_id")
    if image_id is not None and type(image_id) is not int:
        entry = entry | {"image_id": read_key(entry, "image_id", whole)}
    return number, entry


def _references(path: Path, read: Callable[[dict[str, Any]], T]) -> list[T]:
    """`read` applied to each entry of a references file; DataError if the file or an entry is unusable."""
    with naming(f"{path} does not hold REFER references", UNREADABLE):
        raw = json.loads(path.read_bytes()) if path.suffix == ".json" else load_plain(path)
        if not isinstance(raw, list):
            raise ValueError(f"it is a {type(raw).__name__}, not a list")
        return read_entries(raw, "references", read)


def _reference(raw: dict[str, Any], categories: dict[int, str], general: bool) -> Reference:
    """One entry of the references file. Its `file_name` is not used: it can have an annotation's suffix."""
    read = _several if general else _one
    ref_id = read_key(raw, "ref_id", whole)
    # What is meant, and how it is called.
    targets = read_key(raw, "ann_id", read)
    numbers = read_key(raw, "category_id", read)
    if targets:
        refuse_absent(raw)
    names = dict.fromkeys(categories.get(number, str(number)) for number in numbers)
    image_id = read_key(raw, "image_id", whole)
    split = read_key(raw, "split", text)
    sentences = read_entries(read_key(raw, "sentences", listed), "sentences", _sentence)
    return Reference(
        ref_id=ref_id,
        ann_id=targets[0] if len(targets) == 1 else _own_id(ref_id),
        image_id=image_id,
        category=", ".join(names),
        split=repair_text(split),
        sentences=tuple(sentences),
        targets=targets,
        group=read_key(raw, "group_id", whole, absent=ref_id),
    )


def _one(value: Any) -> tuple[int, ...]:
    """The id of one target; ValueError for gRefCOCO's list of them."""
    if isinstance(value, list | tuple):
        raise ValueError("a list of targets, as gRefCOCO has them; this partition has one target per reference")
    return (whole(value),)


def _several(value: Any) -> tuple[int, ...]:
    """Ids of gRefCOCO, each once: a list, in older copies a single number; [-1] and null are none."""
    values = value if isinstance(value, list | tuple) else [value]
    ids = dict.fromkeys(whole(each) for each in values if each is not None)
    ids.pop(NO_TARGET, None)
    return tuple(ids)


def _sentence(raw: dict[str, Any]) -> Sentence:
    sent_id, written = read_sentence(raw)
    return Sentence(sent_id, repair_text(written))


def _usable(reference: Reference, instances: _Instances, problems: Problems) -> bool:
    """Whether a reference can be evaluated; what is wrong with it is noted."""
    where = f"{reference.split} reference {reference.ref_id}"
    annotations = [instances.annotations[target] for target in reference.targets if target in instances.annotations]
    images = {annotation.get("image_id") for annotation in annotations}
    # The first fault counts: each check takes the earlier ones for granted.
    fault = None
    if len(annotations) < len(reference.targets):
        fault = "reference without annotation"
    elif reference.image_id not in instances.images:
        fault = "reference without image entry"
    elif None in images:
        fault = "reference whose annotation has no image_id"
    elif images - {reference.image_id}:
        fault = "reference whose annotation is of another image"
    elif not reference.sentences:
        fault = "reference without sentence"
    if fault is not None:
        problems.note(fault, where)
        return False
    # A sentence without words stays: it is evaluated.
    for sentence in reference.sentences:
        if not sentence.text:
            problems.note("sentence without words", f"{reference.split} sentence {sentence.sent_id}")
    return True


def _images(
    root: Path, instances_path: Path, apply_exif: bool, entries: dict[int, dict[str, Any]], needed: bool
) -> dict[int, ImageInfo]:
    """The file of each image, where it is or, if it need not be there, where it would be."""
    folders = [root / name for name in IMAGE_FOLDERS]

    # Each folder is listed once, because 20,000 single questions are slow on a network disk.
    where: dict[str, Path] = {}
    try:
        for folder in reversed(folders):
            if folder.is_dir():
                where |= dict.fromkeys(os.listdir(folder), folder)
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error

    # The file of each entry; all that are absent are counted before the first is named.
    images: dict[int, ImageInfo] = {}
    missing: list[str] = []
    for image_id, entry in entries.items():
        with naming(f"{instances_path}: image {image_id}"):
            name = read_key(entry, "file_name", text)
            width, height = read_size(entry)
        if name not in where:  # a name as listed: one such as ../../x is in no folder
            missing.append(name)
        path = where.get(name, folders[0]) / name
        images[image_id] = ImageInfo(image_id, path, width, height, apply_exif)
    if missing and needed:
        looked = " and ".join(str(folder) for folder in folders)
        raise MissingData(
            f"{len(missing)} of {len(entries)} images are missing, the first is {missing[0]}: "
            f"looked in {looked}.\n{LAYOUT}"
        )
    return images


def _annotation(entry: dict[str, Any], image: ImageInfo, path: Path, problems: Problems) -> Annotation:
    where = f"annotation {entry['id']}"
    try:  # not `naming`, which would cost seconds over half a million masks
        drawn = read_key(entry, "segmentation", flat_polygons)
        code = read_key({"segmentation": drawn}, "segmentation", lambda d: masks.encode(d, image.height, image.width))
    except ValueError as error:
        raise DataError(f"{path}: {where}: {error}") from error
    if code.clipped:
        problems.note("mask reaches outside its image", where)
    area = code.rle.area
    # Shares of the image, as YOLO writes them, cover a pixel or none.
    if area <= 1 and all_between_0_and_1(drawn):
        problems.note("polygon between 0 and 1", where)
    crowd = bool(entry.get("iscrowd"))
    return Annotation(int(entry["id"]), image.image_id, code.rle, area, _category_of(entry), crowd)


def _everything(
    references: list[Reference],
    images: dict[int, ImageInfo],
    instances: _Instances,
    annotations: dict[int, Annotation],
    problems: Problems,
) -> dict[int, tuple[int, ...]]:
    """The ids of all annotations of each image that a split other than train uses; those that no reference means are
    added to `annotations`."""
    found: dict[int, list[int]] = {r.image_id: [] for r in references if r.split != "train"}
    for ann_id, entry in instances.annotations.items():
        image_id = entry.get("image_id")
        if image_id not in found:
            continue
        if ann_id not in annotations:
            try:
                # What is noted of a mask is of those that are scored or trained on.
                annotations[ann_id] = _annotation(entry, images[image_id], Path(), Problems())
            except DataError:
                problems.note("annotation of no reference that cannot be read", f"annotation {ann_id}")
                continue
        found[image_id].append(ann_id)
    return {image_id: tuple(ids) for image_id, ids in found.items()}


def _category_of(entry: dict[str, Any]) -> int:
    """The id of an annotation's category; NO_CATEGORY where it has none that could be read: scores need none."""
    try:
        return read_key(entry, "category_id", whole, absent=NO_CATEGORY)
    except ValueError:
        return NO_CATEGORY
