"""A REFER folder of all four partitions, written by hand, whose partitions cross as the real ones do."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from barbench.paper.partitions import PAPER_PARTITIONS
from tests.datasets.refer_folder import HEIGHT, WIDTH, box, pixels, python2

# Image -> number of references, by partition and split. Each object of image 3 is object 0, 1, ... of it.
SPLITS: dict[str, dict[str, dict[int, int]]] = {
    "refcoco": {"train": {1: 2, 2: 1, 3: 2}, "val": {4: 1}, "testA": {5: 1}, "testB": {6: 2}},
    "refcoco+": {"train": {1: 1, 2: 2, 3: 1}, "val": {4: 2}, "testA": {5: 1}, "testB": {6: 1}},
    # Image 4 is RefCOCO's val, image 1 RefCOCO's train.
    "refcocog-u": {"train": {3: 1, 4: 1, 7: 2, 8: 1, 10: 1}, "val": {1: 1}, "test": {9: 1}},
    # Objects are divided, not images: 7 is in both.
    "refcocog-g": {"train": {3: 1, 4: 1, 7: 1}, "val": {7: 1, 8: 1}},
}
IMAGES = range(1, 11)
EVALUATED = {1, 4, 5, 6, 7, 8, 9}  # in some evaluation split of some partition


def write_overlapping(root: Path, splits: Mapping[str, Mapping[str, Mapping[int, int]]] = SPLITS) -> Path:
    """Every image has three boxes; a reference has two sentences that name its partition, image and object."""
    (root / "images/train2014").mkdir(parents=True)
    for image in IMAGES:
        cv2.imwrite(str(root / f"images/train2014/COCO_train2014_{image:012}.jpg"), pixels(image))
    for partition in PAPER_PARTITIONS:
        folder = root / partition.folder
        folder.mkdir(exist_ok=True)
        (folder / "instances.json").write_text(json.dumps(_instances()))
        (folder / partition.refs_file).write_bytes(python2(_references(partition.name, splits[partition.name])))
    return root


def _instances() -> dict[str, Any]:
    name = "COCO_train2014_{:012}.jpg"
    return {
        "images": [{"id": i, "file_name": name.format(i), "width": WIDTH, "height": HEIGHT} for i in IMAGES],
        "annotations": [
            {
                "id": 10 * image + k,
                "image_id": image,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": [box(2 + 12 * k, 3, 9, 20)],
            }
            for image in IMAGES
            for k in range(3)
        ],
        "categories": [{"id": 1, "name": "person"}],
    }


def _references(partition: str, splits: Mapping[str, Mapping[int, int]]) -> list[dict[str, Any]]:
    refs: list[dict[str, Any]] = []
    for split, images in splits.items():
        for image, count in images.items():
            for k in range(count):
                # Google's val takes the objects that its train leaves.
                at = 2 - k if (partition, split) == ("refcocog-g", "val") else k
                texts = [f"{partition} {image} {at} {n}" for n in range(2)]
                number = len(refs)
                refs.append(
                    {
                        "ref_id": number,
                        "ann_id": 10 * image + at,
                        "image_id": image,
                        "category_id": 1,
                        "split": split,
                        "sent_ids": [2 * number, 2 * number + 1],
                        "sentences": [{"sent_id": 2 * number + n, "sent": t} for n, t in enumerate(texts)],
                    }
                )
    return refs
