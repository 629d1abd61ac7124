"""The Parquet copies on Hugging Face: `jxu124/refcoco*` and `lmms-lab/RefCOCO*`; `moondream/refcoco-m` is read by
`refcoco_m`. Used by `barbench data import`.

jxu124 (README.md of `jxu124/refcoco` at 9fba820): a row per reference with `ref_id`, `ann_id`, `image_id`, `split`,
`category_id`, `sentences` [{raw, sent, sent_id, tokens}], and as JSON text `raw_anns`, COCO's annotation with all its
polygons, and `raw_image_info`, COCO's image entry; revision 957ef85 calls them `anns` and `image_info` and has
`sentences` as JSON text. No images. The files of testA are called `test`.

lmms-lab (README.md of `lmms-lab/RefCOCO` at e15256e, `RefCOCOplus` at 6ff10a2, `RefCOCOg` at b63a1c8): evaluation
splits only, a row per reference with `image` {bytes, path}, `answer` (the sentences), `bbox` [x, y, w, h], `file_name`,
and `segmentation`, one flat polygon in float32: of an object in several parts it is one part. So the whole mask needs
the annotations of the release, found by image and box. Its val of RefCOCO and RefCOCOg has the rows of two partitions
(8,811 = 3,811 + 5,000; 7,573 = 2,573 + 5,000), which nothing in a row tells apart: the counts say so afterwards.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from barbench.datasets.entries import anything, naming, read_sentence, read_size, refuse_absent
from barbench.datasets.importers import refcoco_m
from barbench.datasets.importers.instances import Instances
from barbench.datasets.importers.names import known_split
from barbench.datasets.importers.parquet_file import open_parquet, rows_of
from barbench.datasets.importers.pictures import SourceImage, coco_name
from barbench.datasets.importers.writer import Given, ImportedObject, ImportedReference, Items
from barbench.datasets.refer import IMAGE_FOLDERS
from barbench.errors import DataError
from barbench.paper.partitions import Partition
from barbench.values import listed, read_entries, read_key, text, whole

JXU = ("ann_id", "raw_anns", "raw_image_info")
OLD_JXU = ("ann_id", "anns", "image_info")
REFCOCO_M = "refcoco-m"
LMMS = ("answer", "segmentation", "file_name", "image")


def items(path: Path, given: Given) -> Items:
    """The references of a Parquet file, whose name or folder begins with the split.

    Whole masks of lmms-lab's rows are in the release's annotations; RefCOCO-M's images are taken from the root where
    they are there already.
    """
    partition = given.partition
    with open_parquet(path) as file:
        # The columns tell whose copy it is.
        columns = set(file.schema_arrow.names)
        if (partition.name == REFCOCO_M) != columns.issuperset(refcoco_m.COLUMNS):
            raise DataError(f"{path} is no file of {partition.name}: its columns are {', '.join(sorted(columns))}")
        if partition.name == REFCOCO_M:
            yield from _refcoco_m(path, given.root)
            return
        jxu = next((names for names in (JXU, OLD_JXU) if columns.issuperset(names)), None)
        if jxu is None and not columns.issuperset(LMMS):
            raise DataError(
                f"{path} has the columns {', '.join(sorted(columns))}; known are the copies of jxu124, with "
                f"{', '.join(JXU)}, and of lmms-lab, with {', '.join(LMMS)}"
            )
        # The split of the whole file; rows may have one each.
        of_file = _split_of(path)
        split = known_split(of_file, partition)
        if jxu is None and split is None:
            yield f"{path.name} is left out: {of_file} is no split of {partition.name}"
            return
        for number, row in enumerate(rows_of(file)):
            with naming(f"{path}, row {number}"):
                yield _jxu(row, jxu, of_file, partition) if jxu else _lmms(row, str(split), given.instances)


def _refcoco_m(path: Path, root: Path) -> Iterator[ImportedReference]:
    """One reference per mask; its id is that of the annotation."""
    for image in refcoco_m.read_images(path):
        # An image that RefCOCO's copy has already is not written again.
        there = any((root / folder / image.name).is_file() for folder in IMAGE_FOLDERS)
        for mask in image.masks:
            yield ImportedReference(
                "val",
                SourceImage(image.name, None if there else image.data, (mask.rle.width, mask.rle.height)),
                ImportedObject(mask.rle.as_json(), mask.id, category_name=mask.category),
                [(None, sentence) for sentence in mask.sentences],
            )


def rows(path: Path) -> int:
    """Count the references of a file; 0 for one that cannot be read, which `items` will say."""
    try:
        with open_parquet(path) as file:
            return int(file.metadata.num_rows)
    except Exception:
        return 0


def _split_of(path: Path) -> str:
    """`test` of data/test-00000-of-00001.parquet; `train` of default/train/0000.parquet, as Hugging Face converts."""
    name = path.name.split("-")[0].split(".")[0]
    return path.parent.name if name.isdecimal() else name


def _jxu(row: dict[str, Any], names: tuple[str, ...], of_file: str, partition: Partition) -> ImportedReference:
    # Copies call testA test, where the data set has no test.
    split = known_split(str(row.get("split") or of_file), partition)
    if split is None and of_file == "test" and "testA" in partition.splits:
        split = "testA"
    if split is None:
        raise ValueError(f"the split {row.get('split')!r} is none of {partition.name}")
    # The annotation and the image, as JSON in columns.
    annotation = _json(row, names[1])
    info = _json(row, names[2])
    if isinstance(annotation, list) and len(annotation) == 1:
        annotation = annotation[0]
    sentences = row.get("sentences")
    if not isinstance(sentences, list):
        sentences = _json(row, "sentences")
    refuse_absent({**row, "sentences": sentences})
    # Some copies hold the image, too.
    held = row.get("image")
    data = held.get("bytes") if isinstance(held, dict) else None
    picture = SourceImage(coco_name(read_key(info, "file_name", text)), data, read_size(info))
    meant = ImportedObject(
        read_key(annotation, "segmentation", anything),
        read_key(row, "ann_id", whole),
        read_key(row, "category_id", whole),
    )
    written = read_entries(sentences, "sentences", read_sentence)
    return ImportedReference(split, picture, meant, written, read_key(row, "ref_id", whole))


def _lmms(row: dict[str, Any], split: str, instances: Instances | None) -> ImportedReference:
    name = coco_name(read_key(row, "file_name", text))
    held = read_key(row, "image", anything)
    data = held.get("bytes") if isinstance(held, dict) else None
    if not isinstance(data, bytes):
        raise ValueError("its image has no bytes")
    # A row has one polygon of its object; the release's annotation has all.
    polygon = [shortest(value) for value in read_key(row, "segmentation", listed)]
    meant = ImportedObject([polygon])
    if instances is not None:
        box = [shortest(value) for value in read_key(row, "bbox", listed)]
        annotation = instances.at(name, box, polygon)
        category = read_key(annotation, "category_id", whole)
        meant = ImportedObject(annotation["segmentation"], annotation["id"], category)
    sentences = [(None, text(answer)) for answer in read_key(row, "answer", listed)]
    return ImportedReference(split, SourceImage(name, data), meant, sentences)


def shortest(value: Any) -> float:
    """Undo the rounding to float32: 265.35 and not 265.3500061, which can rasterise to another pixel.

    >>> shortest(float(np.float32(265.35)))
    265.35
    """
    return float(str(np.float32(value)))


def _json(row: dict[str, Any], key: str) -> Any:
    try:
        return json.loads(read_key(row, key, text))
    except RecursionError:
        raise ValueError(f"{key!r} is nested too deep") from None
