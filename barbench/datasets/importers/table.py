"""Data of one's own, from a table of images, expressions and masks. Used by `barbench data import`.

A CSV or TSV file with a header, a JSON list, or JSON lines. A row is one expression:

    image        file, from the table's own folder on
    expression   text
    mask         image file as large as the image, the object where it is not 0;  or
    polygon      JSON: [x1, y1, x2, y2, …], pairs [[x, y], …], a list of such lists, or COCO's {"size": …, "counts": …}
    value        the object where the mask has this value instead (label images, palette indices); optional
    object       what expressions of one object share; optional, by default the mask
    split        train, val, …; optional, by default a fifth of the images is val
    category     a whole number; optional

The whole table is read and every image, mask and split is asked for what it is (`read_table`) before anything is
written (`Table.items`).
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from barbench.datasets.entries import naming
from barbench.datasets.importers.mask_file import Value, decode_mask, mask_size
from barbench.datasets.importers.names import split_name
from barbench.datasets.importers.pictures import Header, coco_name, layout_names, read_header, source_image
from barbench.datasets.importers.rows import NoTable, Row, read_rows
from barbench.datasets.importers.writer import ImportedObject, ImportedReference
from barbench.datasets.outlines import checked_polygons
from barbench.errors import DataError
from barbench.paper.partitions import Exif
from barbench.values import listed, read_key, shown, text, whole
from barbench.values import number as coordinate

VAL_SHARE = 5  # one image of so many is val where the table does not say


class Drawn(NamedTuple):
    """The object of a row: a mask's file, which of its values is meant, or COCO's polygons or RLE."""

    file: Path | None
    value: Value
    segmentation: Any


class Entry(NamedTuple):
    """A row whose image, mask and split are known."""

    number: int
    image: str
    expression: str
    split: str
    object: str
    drawn: Drawn
    category: int


class Turns(NamedTuple):
    """Rows whose image is turned by its EXIF, by what their mask fits: the turned image, the stored one, or both."""

    turned: list[str]
    stored: list[str]
    either: list[str]


@dataclass(frozen=True)
class Table:
    """A table as read.

    Attributes:
        files: the file of each image, by the image's name in the layout.
        splits: in the order of their first rows.
        turns: what the masks say of images with a turn in their EXIF.
    """

    path: Path
    entries: tuple[Entry, ...]
    files: dict[str, Path]
    splits: tuple[str, ...]
    turns: Turns = field(default_factory=lambda: Turns([], [], []))

    def items(self, exif: Exif) -> Iterator[ImportedReference]:
        """The references: the rows of one object and split are one, in the order of their first rows."""
        # Rows by their object.
        rows_of: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            rows_of[entry.image, entry.object, entry.split].append(entry)
        for rows in rows_of.values():
            first = rows[0]
            where = f"{self.path}, row {first.number}"
            with naming(where):
                picture = source_image(first.image, self.files[first.image], exif)
                meant = ImportedObject(_segmentation(first.drawn), category=first.category)
            sentences = [(None, entry.expression) for entry in rows]
            yield ImportedReference(first.split, picture, meant, sentences, where=where)


def is_table(path: Path) -> bool:
    """Whether a file has the columns that a table needs; a row that cannot be read is the table's fault."""
    try:
        next(read_rows(path), None)
    except NoTable:
        return False
    except DataError:
        return path.suffix.lower() in (".csv", ".tsv")
    return True


def read_table(path: Path, of_file: str | None = None) -> Table:
    """Read a table, and ask every image, mask and split what it is; DataError if a row, whose number is named, cannot
    be used. Rows that name no split are of `of_file`, or, if that is None, divided by a hash of the image's path."""
    rows = list(read_rows(path))
    if not rows:
        raise DataError(f"{path} has no rows")

    # Which files the images are, and their names: two paths of one file are one image.
    headers: dict[Path, Header] = {}
    file_of_row: list[Path] = []
    located: dict[str, Path] = {}
    for number, row in rows:
        with naming(f"{path}, row {number}"):
            written = _cell(row, "image")
            if written not in located:
                file = _located(path.parent, written)
                located[written] = file
                headers[file] = read_header(file)
            file_of_row.append(located[written])
    name_of = layout_names(path.parent, headers)
    names = [name_of[file] for file in file_of_row]
    splits = _splits(path, rows, names, _paths(path.parent, name_of), of_file)

    # What each row's object is.
    entries: list[Entry] = []
    turns = Turns([], [], [])
    first_of: dict[tuple[str, str, str], Entry] = {}
    for (number, row), file, split in zip(rows, file_of_row, splits, strict=True):
        with naming(f"{path}, row {number}"):
            header = headers[file]
            drawn = _drawn(path.parent, row)
            if drawn.segmentation is not None:
                checked = checked_polygons(drawn.segmentation, *header.size)
                drawn = drawn._replace(segmentation=checked)
            if header.is_turned:
                fitting = _turn(header, drawn, turns)
                fitting.append(f"{path.name}, row {number}")
            key = text(str(row["object"])) if "object" in row else _default_object(drawn)
            category = read_key(row, "category", whole, absent=0)
            entry = Entry(number, name_of[file], _cell(row, "expression"), split, key, drawn, category)
            # The rows of one object have one mask.
            first = first_of.setdefault((entry.image, key, split), entry)
            if first.drawn != drawn:
                what = f"the object {key!r} of {entry.image}"
                raise ValueError(f"it has another mask than row {first.number}, and both are {what}")
            entries.append(entry)
    # Of several paths of one image the first counts.
    files = {name: file for file, name in reversed(name_of.items())}
    return Table(path, tuple(entries), files, tuple(dict.fromkeys(splits)), turns)


def _cell(row: Row, column: str) -> str:
    """The text of a column that must be filled."""
    if column not in row:
        raise ValueError(f"{column!r} is empty")
    return read_key(row, column, text).strip()


def _located(folder: Path, written: str) -> Path:
    """The file of an image: as written, with Windows' separators, or without the suffix that REFER appends."""
    file = folder / written
    for candidate in (file, folder / written.replace("\\", "/"), file.with_name(coco_name(written))):
        if candidate.is_file():
            return candidate
    if file.is_dir():
        raise ValueError(f"the image {file} is a folder")
    raise ValueError(f"the image {file} is not there")


def _paths(folder: Path, name_of: dict[Path, str]) -> dict[str, str]:
    """The path of each image from the table's folder on; of several paths of one image, the first in order."""
    path_of: dict[str, str] = {}
    for file, name in name_of.items():
        path = os.path.relpath(file, folder).replace(os.sep, "/")
        path_of[name] = min(path, path_of.get(name, path))
    return path_of


def _splits(
    path: Path, rows: list[tuple[int, Row]], names: list[str], path_of: dict[str, str], of_file: str | None
) -> list[str]:
    """The split of each row: its own, its image's in other rows, its file's, or by a hash of its image's path."""
    # What rows and files say, and by image what some row of it says.
    own: list[str | None] = []
    of_image: dict[str, str] = {}
    for (number, row), name in zip(rows, names, strict=True):
        with naming(f"{path}, row {number}"):
            split = split_name(_cell(row, "split")) if "split" in row else of_file
        own.append(split)
        if split is not None:
            of_image.setdefault(name, split)
    # A row without a split takes its image's, so that no image is in two.
    found = []
    for split, name in zip(own, names, strict=True):
        if split is None:
            split = of_image.get(name) or _drawn_split(path_of[name])
        found.append(split)
    return found


def _drawn_split(path: str) -> str:
    """Train or val by a hash of the image's path, so that it does not depend on other rows."""
    number = int(hashlib.sha256(path.encode()).hexdigest(), 16)
    return "val" if number % VAL_SHARE == 0 else "train"


def _drawn(folder: Path, row: Row) -> Drawn:
    """What a row says of its object."""
    if "mask" in row:
        # The file of a mask, and which of its pixels.
        written = _cell(row, "mask")
        file = folder / written
        if not file.exists() and (folder / written.replace("\\", "/")).exists():
            file = folder / written.replace("\\", "/")
        if file.is_dir():
            raise ValueError(f"the mask {file} is a folder; expected an image file")
        if not file.is_file():
            raise ValueError(f"the mask {file} is not there")
        value: Value = None
        if "value" in row:
            is_any = isinstance(row["value"], str) and row["value"].strip().lower() == "any"
            value = "any" if is_any else read_key(row, "value", whole)
        return Drawn(file, value, None)
    if "polygon" not in row:
        raise ValueError("neither 'mask' nor 'polygon' is filled")
    # A polygon as JSON, or as it was in a file of JSON; one alone needs no outer list.
    drawn = row["polygon"]
    if isinstance(drawn, str):
        try:
            drawn = json.loads(drawn)
        except (ValueError, RecursionError):
            raise ValueError(f"'polygon' is no JSON: {shown(drawn)}") from None
    is_flat = isinstance(drawn, list) and bool(drawn) and not isinstance(drawn[0], list | dict)
    return Drawn(None, None, [drawn] if is_flat else drawn)


def _default_object(drawn: Drawn) -> str:
    """Equal masks are one object."""
    if drawn.file is not None:
        return f"{drawn.file.resolve()} {'' if drawn.value is None else drawn.value}"
    return json.dumps(drawn.segmentation)


def _segmentation(drawn: Drawn) -> Any:
    if drawn.file is None:
        return drawn.segmentation
    return decode_mask(drawn.file.read_bytes(), str(drawn.file), drawn.value)


def _turn(header: Header, drawn: Drawn, turns: Turns) -> list[str]:
    """The list of `turns` that an object belongs to, by the size of its mask or the reach of its polygons."""
    if drawn.file is not None:
        size = mask_size(drawn.file.read_bytes(), str(drawn.file))
        fits_stored = size == header.size
        fits_turned = size == header.turned_size
    elif isinstance(drawn.segmentation, dict):
        height, width = read_key(drawn.segmentation, "size", listed)
        fits_stored = (width, height) == header.size
        fits_turned = (width, height) == header.turned_size
    else:
        right, bottom = _reach(drawn.segmentation)
        fits_stored = right <= header.size[0] + 1 and bottom <= header.size[1] + 1
        fits_turned = right <= header.turned_size[0] + 1 and bottom <= header.turned_size[1] + 1
    # A mask that fits both says nothing, nor does one that fits neither.
    if fits_stored == fits_turned:
        return turns.either
    return turns.turned if fits_turned else turns.stored


def _reach(polygons: Any) -> tuple[float, float]:
    """The largest x and the largest y of flat polygons."""
    right = bottom = 0.0
    for part in listed(polygons):
        numbers = [coordinate(value) for value in listed(part)]
        right = max(right, *numbers[0::2])
        bottom = max(bottom, *numbers[1::2])
    return right, bottom
