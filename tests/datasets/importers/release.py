"""A small release of one data set in the public layout, and the same references in every form that people hold.

The forms are written as the sources' own scripts write them (see the importers' docstrings), from the annotations and
not from barbench's reader; masks are rasterised by pycocotools as REFER does it.
"""

import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco

WIDTH, HEIGHT = 96, 72
SPLITS = {"train": 6, "val": 2, "testA": 2, "testB": 2}
CATEGORIES = (1, 18)  # person, dog


def outline(rng: np.random.Generator, x: float, y: float, radius: float) -> list[float]:
    """A polygon with two decimals, as COCO's are."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    points = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
    return [round(float(v), 2) for v in points.clip(0, (WIDTH, HEIGHT)).ravel()]


class Release:
    """References and annotations as the release has them; `write` puts them into the public layout."""

    def __init__(self, splits: dict[str, int] = SPLITS) -> None:
        rng = np.random.default_rng(5)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.refs: list[dict[str, Any]] = []
        self.pixels: dict[int, np.ndarray] = {}
        for split, count in splits.items():
            for _ in range(count):
                self._image(rng, split)

    def _image(self, rng: np.random.Generator, split: str) -> None:
        image_id = 1000 + 7 * len(self.images)
        noise = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        self.pixels[image_id] = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        name = f"COCO_train2014_{image_id:012}.jpg"
        self.images.append({"id": image_id, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for place, x in enumerate((25.0, 70.0)):
            number = len(self.refs) + 1
            parts = [outline(rng, x, 36, 20)] + [outline(rng, x, 66, 9)] * (number % 3 == 0)
            boxes = coco.toBbox(coco.frPyObjects(parts, HEIGHT, WIDTH))
            x0, y0 = boxes[:, :2].min(0)
            x1, y1 = (boxes[:, :2] + boxes[:, 2:]).max(0)
            annotation = {
                "id": 50_000 + number,
                "image_id": image_id,
                "category_id": CATEGORIES[place],
                "iscrowd": 0,
                "segmentation": parts,
                "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
                "area": 1.0,
            }
            self.annotations.append(annotation)
            texts = [f"{('left', 'right')[place]} thing {number}", f"thing number {number}"][: 1 + number % 2]
            sentences = [
                {"sent_id": 10 * number + i, "sent": text, "raw": text.title(), "tokens": text.split()}
                for i, text in enumerate(texts)
            ]
            self.refs.append(
                {
                    "ref_id": 300 + number,
                    "ann_id": annotation["id"],
                    "image_id": image_id,
                    "category_id": CATEGORIES[place],
                    "split": split,
                    "file_name": f"{name[:-4]}_{number}.jpg",
                    "sent_ids": [s["sent_id"] for s in sentences],
                    "sentences": sentences,
                }
            )

    def rows(self) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
        """Each reference with its annotation and its image's entry."""
        annotations = {entry["id"]: entry for entry in self.annotations}
        images = {entry["id"]: entry for entry in self.images}
        for ref in self.refs:
            yield ref, annotations[ref["ann_id"]], images[ref["image_id"]]

    @property
    def instances(self) -> dict[str, Any]:
        names = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
        return {"images": self.images, "annotations": self.annotations, "categories": names}

    def jpeg(self, image_id: int) -> bytes:
        """The file of an image."""
        return cv2.imencode(".jpg", self.pixels[image_id], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()

    def mask_png(self, annotation: dict[str, Any]) -> bytes:
        """As CRIS draws it: the sum of the parts' masks, times 255 in eight bits."""
        parts = coco.decode(coco.frPyObjects(annotation["segmentation"], HEIGHT, WIDTH))
        return cv2.imencode(".png", np.sum(parts, axis=2).astype(np.uint8) * np.uint8(255))[1].tobytes()

    def write_images(self, folder: Path) -> Path:
        """All image files, by COCO's names."""
        folder.mkdir(parents=True)
        for entry in self.images:
            (folder / entry["file_name"]).write_bytes(self.jpeg(entry["id"]))
        return folder

    def write(self, root: Path) -> Path:
        """The public layout of RefCOCO."""
        self.write_images(root / "images/train2014")
        (root / "refcoco").mkdir()
        (root / "refcoco/refs(unc).p").write_bytes(pickle.dumps(self.refs, 2))
        (root / "refcoco/instances.json").write_text(json.dumps(self.instances))
        return root

    def write_zip(self, path: Path) -> Path:
        """As the web archive has it: one folder, and what macOS leaves beside it."""
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("refcoco/", b"")
            archive.writestr("refcoco/refs(unc).p", pickle.dumps(self.refs, 2))
            archive.writestr("refcoco/refs(google).p", pickle.dumps([], 2))
            archive.writestr("refcoco/instances.json", json.dumps(self.instances))
            archive.writestr("__MACOSX/refcoco/._refs(unc).p", b"\x00\x05\x16\x07")
            archive.writestr("refcoco/.DS_Store", b"\x00")
        return path
