"""A small gRefCOCO: two boxes per image, and expressions of one of them, of both, and of none."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT = 80, 60
LEFT, RIGHT = (5, 10, 24, 30), (45, 15, 28, 36)  # x, y, w, h
SPLITS = {"train": 8, "val": 3, "testA": 2, "testB": 2}


def box(x: int, y: int, w: int, h: int) -> list[float]:
    """The outline of the pixels x..x+w-1, y..y+h-1."""
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def write_grefcoco(root: Path) -> Path:
    """As henghuiding/gRefCOCO releases it: lists of annotations and categories, [-1] and `no_target` for nothing."""
    folder = root / "images/train2014"
    folder.mkdir(parents=True)
    refs: list[dict[str, Any]] = []
    images, annotations = [], []
    for image_id, split in enumerate((name for name, count in SPLITS.items() for _ in range(count)), 1):
        name = f"COCO_train2014_{image_id:012}.jpg"
        pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        for place, (x, y, w, h) in enumerate((LEFT, RIGHT)):
            pixels[y : y + h, x : x + w] = ((200, 30, 30), (30, 60, 200))[place]
            annotations.append(
                {
                    "id": 10 * image_id + place,
                    "image_id": image_id,
                    "category_id": 1 + place,
                    "iscrowd": 0,
                    "segmentation": [box(x, y, w, h)],
                }
            )
        cv2.imwrite(str(folder / name), pixels)
        images.append({"id": image_id, "file_name": name, "width": WIDTH, "height": HEIGHT})
        left, right = 10 * image_id, 10 * image_id + 1
        for targets, categories, texts in (
            ([left], [1], ["the left box", "red box"]),
            ([left, right], [1, 2], ["both boxes"]),
            ([-1], [-1], ["the green dog"]),
        ):
            number = len(refs) + 1
            sentences = [{"sent_id": 10 * number + i, "sent": t, "raw": t, "tokens": []} for i, t in enumerate(texts)]
            refs.append(
                {
                    "ref_id": number,
                    "ann_id": targets,
                    "category_id": categories,
                    "image_id": image_id,
                    "split": split,
                    "no_target": targets == [-1],
                    "file_name": name,
                    "sent_ids": [s["sent_id"] for s in sentences],
                    "sentences": sentences,
                }
            )
    (root / "grefcoco").mkdir()
    (root / "grefcoco/grefs(unc).json").write_text(json.dumps(refs))
    categories_ = [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
    value = {"images": images, "annotations": annotations, "categories": categories_}
    (root / "grefcoco/instances.json").write_text(json.dumps(value))
    return root
