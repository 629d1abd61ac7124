"""Data of one's own, from a table of images, expressions and masks. Used by `barbench data import`.

A CSV or TSV file with a header, a JSON list, or JSON lines. A row is one expression:

    image        file, from the table's own folder on
    expression   text
    mask         image file as large as the image, the object where it is not 0;  or
    polygon      JSON: [x1, y1, x2, y2, …], a list of such lists, or COCO's {"size": [h, w], "counts": …}
    value        the object where the mask has this value instead (label images); optional
    object       what expressions of one object share; optional, by default the mask
    split        train, val, …; optional, by default a fifth of the images is val
    category     a whole number; optional
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from barbench.datasets.importers.mask_folder import decode_mask
from barbench.datasets.importers.mdetr import json_lines
from barbench.datasets.importers.names import split_name
from barbench.datasets.importers.pictures import COCO_NAME, SourceImage, coco_name
from barbench.datasets.importers.writer import ImportedReference
from barbench.errors import DataError
from barbench.values import read_key, shown, text, whole

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
VAL_SHARE = 5  # one image of so many is val where the table does not say


def items(path: Path) -> Iterator[ImportedReference]:
    """The references of a table: the rows of one object and split are one reference.

    Args:
        path: the table.

    Yields:
        The references, in the order of their first rows.

    Raises:
        DataError: if a row cannot be used; its number is named.
    """
    objects: dict[tuple[str, str, str], list[tuple[int, dict[str, Any]]]] = {}
    for number, row in _rows(path):
        try:
            objects.setdefault(_object(row), []).append((number, row))
        except ValueError as error:
            raise DataError(f"{path}, row {number}: {error}") from error
    for (image, _, split), rows in objects.items():
        number, first = rows[0]
        try:
            yield ImportedReference(
                split,
                _picture(path.parent, image),
                _segmentation(path.parent, first),
                [(None, read_key(row, "expression", _filled)) for _, row in rows],
                category=read_key(first, "category", whole) if first.get("category") else 0,
            )
        except ValueError as error:
            raise DataError(f"{path}, row {number}: {error}") from error


def splits(path: Path) -> list[str]:
    """The splits of a table.

    Args:
        path: the table.

    Returns:
        Names, in the order of their first rows.

    Raises:
        DataError: if the table or a row cannot be read.
    """
    found: dict[str, None] = {}
    for number, row in _rows(path):
        try:
            found[_object(row)[2]] = None
        except ValueError as error:
            raise DataError(f"{path}, row {number}: {error}") from error
    return list(found)


def is_table(path: Path) -> bool:
    """Whether a file has the columns that a table needs.

    Args:
        path: any file.

    Returns:
        True for a table with `image` and `expression`.
    """
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        _, first = next(_rows(path))
    except (DataError, StopIteration):
        return False
    return {"image", "expression"} <= first.keys()


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row with its number as an editor shows it."""
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
                for row in reader:
                    yield reader.line_num, row
            return
        with path.open("rb") as binary:
            whole_list = binary.read(1 << 10).lstrip()[:1] == b"["
        entries = json.loads(path.read_bytes()) if whole_list else json_lines(path)
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict):
                raise ValueError(f"row {number} is {shown(entry)}, not an object with keys")
            yield number, entry
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise DataError(f"{path} is not a table that can be read: {error}") from error


def _object(row: dict[str, Any]) -> tuple[str, str, str]:
    """Image, object and split of a row; ValueError where it lacks one."""
    image, _ = read_key(row, "image", _filled), read_key(row, "expression", _filled)
    drawn = row.get("mask") or row.get("polygon")
    if not drawn:
        raise ValueError("neither 'mask' nor 'polygon' is filled")
    return image, str(row.get("object") or f"{drawn} {row.get('value', '')}"), _split(row, image)


def _filled(value: Any) -> str:
    found = text(value).strip()
    if not found:
        raise ValueError("it is empty")
    return found


def _split(row: dict[str, Any], image: str) -> str:
    """The split of a row; without one by a hash of the image's name, so that it does not depend on other rows."""
    if row.get("split"):
        return split_name(_filled(row["split"]))
    number = int(hashlib.sha256(image.encode()).hexdigest(), 16)
    return "val" if number % VAL_SHARE == 0 else "train"


def _picture(folder: Path, image: str) -> SourceImage:
    """An image under a plain name that tells its folders apart; other formats than JPEG and PNG become PNG."""
    file = folder / image
    if not file.is_file():
        raise ValueError(f"the image {file} is not there")
    name = coco_name(image)
    if not COCO_NAME.fullmatch(name):
        name = re.sub(r"[/\\:]+", "__", image.removeprefix("./").lstrip("/"))
    if file.suffix.lower() in (".jpg", ".jpeg", ".png"):
        return SourceImage(name, file)
    pixels = cv2.imread(str(file), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError(f"{file} is no image that can be read")
    return SourceImage(f"{name}.png", cv2.imencode(".png", pixels)[1].tobytes())


def _segmentation(folder: Path, row: dict[str, Any]) -> Any:
    if row.get("mask"):
        return _mask(folder / _filled(row["mask"]), row.get("value"))
    drawn = row["polygon"]
    if isinstance(drawn, str):
        try:
            drawn = json.loads(drawn)
        except (ValueError, RecursionError):
            raise ValueError(f"'polygon' is no JSON: {shown(drawn)}") from None
    flat = isinstance(drawn, list) and drawn and not isinstance(drawn[0], list)
    return [drawn] if flat else drawn


def _mask(file: Path, wanted: Any) -> NDArray[np.uint8]:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"the mask {file} is not there") from None
    return decode_mask(data, str(file), None if wanted in (None, "") else read_key({"value": wanted}, "value", whole))
