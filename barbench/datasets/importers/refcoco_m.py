"""RefCOCO-M: RefCOCO's val (unc) with masks drawn anew, as Parquet. Used by `barbench data import`, and where the new
masks are wanted alone.

moondream/refcoco-m at 2a8fb52, two files: a row per image with `image` {bytes, path}, `image_id` (COCO's), `file_name`,
and `samples`, a list of {id, image_id, category, supercategory, label, sentences, bbox [x, y, w, h], mask {counts,
size}}, whose mask is COCO's compressed RLE. 1,190 images, 2,080 masks, 5,598 sentences. Whether `id` is that of COCO's
annotation is not said.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from barbench.datasets.entries import anything, naming
from barbench.datasets.importers.parquet_file import open_parquet, rows_of
from barbench.datasets.importers.pictures import coco_id, coco_name
from barbench.datasets.pixels import masks
from barbench.errors import DataError
from barbench.values import listed, number, read_key, text, whole

COLUMNS: Final = ("samples", "image_id", "file_name")


class NewMask(NamedTuple):
    """One object; its box is x, y, width and height in pixels, as the source gives it."""

    id: int
    category: str
    sentences: tuple[str, ...]
    box: tuple[float, ...]
    rle: masks.Rle


class MaskedImage(NamedTuple):
    """An image with its objects; `data` are its bytes, None where the row has none."""

    image_id: int
    name: str
    data: bytes | None
    masks: tuple[NewMask, ...]


def read_images(path: Path) -> Iterator[MaskedImage]:
    """The images of a Parquet file with COLUMNS, one per row, with the new masks; DataError for a file that cannot be
    read, or a row of another form, whose number is named."""
    with open_parquet(path) as file:
        if not set(COLUMNS) <= set(file.schema_arrow.names):
            raise DataError(f"{path} is not RefCOCO-M: it lacks the columns {', '.join(COLUMNS)}")
        for place, row in enumerate(rows_of(file)):
            with naming(f"{path}, row {place}"):
                yield _image(row)


def _image(row: dict[str, Any]) -> MaskedImage:
    image_id = read_key(row, "image_id", whole)
    name = coco_name(read_key(row, "file_name", text))
    if coco_id(name) != image_id:
        name = f"COCO_train2014_{image_id:012}.jpg"
    held = row.get("image")
    data = held.get("bytes") if isinstance(held, dict) else None
    return MaskedImage(image_id, name, data, tuple(_mask(sample) for sample in read_key(row, "samples", listed)))


def _mask(sample: dict[str, Any]) -> NewMask:
    code = read_key(sample, "mask", anything)
    height, width = (whole(side) for side in read_key(code, "size", listed))
    return NewMask(
        id=read_key(sample, "id", whole),
        category=read_key(sample, "category", text),
        sentences=tuple(text(sentence) for sentence in read_key(sample, "sentences", listed)),
        box=tuple(number(side) for side in read_key(sample, "bbox", listed)),
        rle=masks.encode(code, height, width).rle,
    )
