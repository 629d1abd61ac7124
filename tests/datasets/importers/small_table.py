"""Photos of 60 x 40 pixels with masks and a table, written by hand."""

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from barbench.datasets.importers.source import Imported, Request, import_data

WIDTH, HEIGHT = 60, 40
BOX = "[5,5,25,5,25,30,5,30]"  # 500 pixels
AREA = 500
Rows = list[dict[str, Any]]


def photo(path: Path, gray: int = 90, turn: int | None = None, **options: Any) -> Path:
    """A gray photo; with `turn` its EXIF has that orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if turn is not None:
        exif = Image.Exif()
        exif[0x0112] = turn
        options["exif"] = exif
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), gray, np.uint8)).save(path, **options)
    return path


def mask(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """The box as 0 and 255."""
    drawn = np.zeros((height, width), np.uint8)
    drawn[5:30, 5:25] = 255
    return drawn


def write_csv(path: Path, rows: Rows, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows(folder: Path, count: int = 3, **columns: Any) -> Rows:
    """Rows of new photos, the first in train and the others in val; `columns` replace or add values."""
    made = []
    for number in range(count):
        photo(folder / f"a{number}.png", 60 + 10 * number)
        row = {"image": f"a{number}.png", "expression": f"box {number}", "polygon": BOX}
        row["split"] = "val" if number else "train"
        made.append({**row, **columns})
    return made


def imported(source: Path, **options: Any) -> Imported:
    """The source, imported into the folder `root` beside it."""
    return import_data(Request(source, source.parent / "root", **options), lambda done, total: None)


def areas(source: Path) -> list[int]:
    """The areas of the annotations that an import of the table wrote."""
    value = json.loads((source.parent / "root" / source.stem / "instances.json").read_text())
    return [entry["area"] for entry in value["annotations"]]


def references(source: Path, dataset: str | None = None) -> list[dict[str, Any]]:
    """The references that an import of the table wrote."""
    path = source.parent / "root" / (dataset or source.stem) / "refs(own).p"
    found: list[dict[str, Any]] = pickle.loads(path.read_bytes())
    return found
