"""A REFER folder written by hand, with the awkward cases of the public release; masks are drawn here independently."""

import json
import struct
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT = 40, 30


def python2(value: Any) -> bytes:
    """A protocol-2 pickle as Python 2 wrote it: `bytes` here is its `str`, `str` here is its `unicode`."""

    def body(v: Any) -> bytes:
        match v:
            case int():
                return b"J" + struct.pack("<i", v)
            case bytes():
                return b"T" + struct.pack("<i", len(v)) + v
            case str():
                return b"X" + struct.pack("<I", len(v.encode())) + v.encode()
            case list():
                return b"](" + b"".join(map(body, v)) + b"e"
            case dict():
                return b"}(" + b"".join(body(k.encode()) + body(x) for k, x in v.items()) + b"u"
        raise TypeError(type(v))

    return b"\x80\x02" + body(value) + b"."


def box(x: int, y: int, w: int, h: int) -> list[float]:
    """A polygon that covers the pixels x..x+w-1, y..y+h-1."""
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def box_mask(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x, y, w, h in boxes:
        mask[y : y + h, x : x + w] = 1
    return mask


def runs(mask: np.ndarray) -> list[int]:
    """Uncompressed COCO runs of a mask, counted pixel by pixel down the columns."""
    counts, inside = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != inside:
            counts.append(0)
            inside = pixel
        counts[-1] += 1
    return counts


# The compressed code of box_mask((3, 4, 2, 5)), by hand: runs 94, 5, 25, 5, 1071; from the fourth on, the difference to
# the run two before: 94, 5, 25, 0, 1046; each in 5-bit groups from the lowest, +32 where more follow, then +48:
# 94 = 30, 2; 25 = 25, 0 (bit 5 of 25 is the sign, so a zero group follows); 1046 = 22, 0, 1.
COMPRESSED = "".join(chr(48 + c) for c in (30 + 32, 2, 5, 25 + 32, 0, 0, 22 + 32, 0 + 32, 1))

MASKS = {
    101: box_mask((2, 3, 8, 6), (20, 10, 5, 12)),
    102: box_mask((3, 4, 2, 5)),
    103: box_mask((12, 5, 9, 7), (30, 20, 3, 3)),
    104: box_mask((5, 5, 10, 10)),
    105: box_mask((20, 8, 12, 9)),
    106: box_mask(),
    107: box_mask((1, 1, 30, 20)),
    108: box_mask((4, 6, 9, 11)),
}
SEGMENTATIONS: dict[int, Any] = {
    101: [box(2, 3, 8, 6), box(20, 10, 5, 12)],
    102: {"size": [HEIGHT, WIDTH], "counts": COMPRESSED},
    103: {"size": [HEIGHT, WIDTH], "counts": runs(MASKS[103])},
    104: [box(5, 5, 10, 10)],
    105: [box(20, 8, 12, 9)],
    106: [[4.0, 4.0, 9.0, 9.0]],  # two points: no area
    107: [box(1, 1, 30, 20)],
    108: [box(4, 6, 9, 11)],
}
IMAGE_OF = {101: 1, 102: 1, 103: 1, 104: 9, 105: 9, 106: 9, 107: 3, 108: 4}


def _ref(ref_id: int, ann_id: int, split: str, image_id: int, *texts: bytes | str, suffix: str = "") -> dict[str, Any]:
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "image_id": image_id,
        "category_id": 1,
        "split": split.encode(),
        "file_name": f"COCO_train2014_{image_id:012}{suffix}.jpg".encode(),
        "sent_ids": [ref_id * 10 + i for i in range(len(texts))],
        "sentences": [{"sent_id": ref_id * 10 + i, "sent": t, "tokens": [], "raw": t} for i, t in enumerate(texts)],
    }


REFS: list[dict[str, Any]] = [
    _ref(11, 101, "train", 1, b"both parts", b"two boxes", b"left and middle", suffix="_0"),
    _ref(12, 102, "train", 1, b"tiny one", b"  thin\tbar\n"),
    _ref(13, 103, "train", 1, b"third", b" "),
    _ref(90, 999, "train", 1, b"nobody drew me"),
    _ref(91, 106, "val", 9, b"nothing there"),
    _ref(92, 105, "val", 9),
    _ref(93, 104, "train", 1, b"drawn elsewhere"),
    # The annotation's suffix names a file that does not exist; the image is found through image_id.
    _ref(21, 104, "val", 9, "café".encode(), "naïve man".encode("latin1"), "日本 sign", suffix="_2"),
    _ref(22, 105, "val", 9, b"right one"),
    _ref(31, 107, "testA", 3, b"alone"),
    _ref(41, 108, "testB", 4, b"the word " * 30),
]


def instances() -> dict[str, Any]:
    return {
        "images": [
            {"id": i, "file_name": f"COCO_train2014_{i:012}.jpg", "width": WIDTH, "height": HEIGHT}
            for i in (1, 9, 3, 4)
        ],
        "annotations": [
            {"id": a, "image_id": IMAGE_OF[a], "category_id": 1, "iscrowd": 0, "segmentation": deepcopy(s)}
            for a, s in SEGMENTATIONS.items()
        ],
        "categories": [{"id": 1, "name": "person"}],
    }


def pixels(image_id: int) -> np.ndarray:
    """Smooth colours, uint8 (H, W, 3) BGR."""
    noise = np.random.default_rng(image_id).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def write_folder(root: Path) -> Path:
    """refcoco in Python-2 pickles, images in both public places, image 9 gray."""
    plain, nested = root / "images/train2014", root / "images/mscoco/images/train2014"
    for folder in (root / "refcoco", plain, nested):
        folder.mkdir(parents=True)
    (root / "refcoco/refs(unc).p").write_bytes(python2(REFS))
    (root / "refcoco/instances.json").write_text(json.dumps(instances()))
    for image_id in (1, 9, 3, 4):
        picture = pixels(image_id)
        if image_id == 9:
            picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        folder = nested if image_id in (3, 4) else plain
        cv2.imwrite(str(folder / f"COCO_train2014_{image_id:012}.jpg"), picture)
    return root
