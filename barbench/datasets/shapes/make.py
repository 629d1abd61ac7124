"""Writes a folder of shapes scenes in the REFER/COCO layout, for all four partitions: `barbench data make-shapes
ROOT`."""

import hashlib
import json
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from barbench.datasets.shapes.language import express
from barbench.datasets.shapes.scene import FAMILIES, OUTLINES, RING_HOLE, Rng, Scene, Thing, draw, sample_scene
from barbench.paper.partitions import PAPER_PARTITIONS, Partition
from barbench.progress import OnProgress

GENERATOR_VERSION = 2  # raise it whenever the same spec would give other pictures or words
IMAGES = Path("images/train2014")
CATEGORIES = {kind: i + 1 for i, kind in enumerate(OUTLINES)}
SUPERCATEGORY = {kind: family for family, kinds in FAMILIES.items() for kind in kinds}
# Which pool of pictures an evaluation split of a partition is made of. Each pool has a kind of scene: testA people,
# testB objects.
POOLS = {"train": ("people", "objects"), "val": ("people", "objects"), "testA": ("people",), "testB": ("objects",)}

AIR, NOISE = 190, 1.5  # grey level of haze, standard deviation of a camera's noise


@dataclass(frozen=True)
class ShapesSpec:
    """Everything that determines the folder.

    Attributes:
        train: number of pictures that train.
        val: number of pictures of val.
        testA: number of pictures of testA, which show people.
        testB: number of pictures of testB, which show objects.
        sides: shortest and longest side of a picture in pixels.
        things: fewest and most figures per scene.
        references: most references per picture.
        sentences: most sentences per reference.
        haze: share of the contrast that is lost, from 0 to 1.
        seed: of the whole folder.
    """

    train: int = 800
    val: int = 240
    testA: int = 120  # noqa: N815  (the benchmark's own name)
    testB: int = 120  # noqa: N815
    sides: tuple[int, int] = (72, 96)
    things: tuple[int, int] = (3, 6)
    references: int = 3
    sentences: int = 2
    haze: float = 0.8
    seed: int = 0

    def fingerprint(self) -> str:
        """Hash of the spec and of the generator's version, 12 hexadecimal digits."""
        text = json.dumps([GENERATOR_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class _Picture:
    image_id: int
    pool: str
    scene: Scene

    @property
    def file_name(self) -> str:
        return f"COCO_train2014_{self.image_id:012d}.jpg"

    def ann_id(self, index: int) -> int:
        return self.image_id * 10 + index


def make_shapes(root: Path, spec: ShapesSpec, progress: OnProgress | None = None, processes: int = 1) -> None:
    """Draw the pictures and write images, `instances.json` and `refs(*).p`.

    The same spec gives the same bytes. Every picture has its own random stream, seeded by (seed, image id), so that
    more pictures in one pool do not change those of another.

    Args:
        progress: called with the pictures drawn and all pictures.
        processes: that draw side by side; the pictures do not depend on it.
    """
    (root / IMAGES).mkdir(parents=True, exist_ok=True)
    # First of all, so that even an unfinished folder is never taken for real data.
    mark = {"fingerprint": spec.fingerprint(), **asdict(spec)}
    (root / "shapes.json").write_text(json.dumps(mark, indent=1) + "\n")
    # The pools one after another: a picture's number is its id.
    pools: list[str] = []
    for pool in POOLS:
        pools += [pool] * getattr(spec, pool)
    pictures: list[_Picture] = []
    for picture in _write_pictures(root, spec, pools, processes):
        pictures.append(picture)
        if progress is not None:
            progress(len(pictures), len(pools))
    # The annotations are the same for all partitions.
    instances = json.dumps(_instances(pictures))
    for partition in PAPER_PARTITIONS:
        folder = root / partition.folder
        folder.mkdir(exist_ok=True)
        (folder / "instances.json").write_text(instances)
        with open(folder / partition.refs_file, "wb") as file:
            pickle.dump(_references(pictures, partition, spec), file, protocol=2)


def _write_pictures(root: Path, spec: ShapesSpec, pools: list[str], processes: int) -> Iterator[_Picture]:
    """Write one picture per entry of `pools`, in order."""
    write = partial(_write_picture, root, spec)
    ids = range(1, len(pools) + 1)
    if processes == 1:
        yield from map(write, ids, pools)
        return
    # Not forked: this process may have threads of torch and OpenCV.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(write, ids, pools, chunksize=16)


def _write_picture(root: Path, spec: ShapesSpec, image_id: int, pool: str) -> _Picture:
    rng = np.random.default_rng([spec.seed, image_id])
    # The order of the draws is part of the format: another one gives other pictures.
    shortest, longest = spec.sides
    fewest, most = spec.things
    width = int(rng.integers(shortest, longest + 1))
    height = int(rng.integers(shortest, longest + 1))
    count = int(rng.integers(fewest, most + 1))
    scene = sample_scene(rng, width, height, count, POOLS[pool])
    picture = _Picture(image_id, pool, scene)
    quality = int(rng.integers(96, 101))
    image = hazed(draw(scene, rng), spec.haze, rng)
    bgr = image[:, :, ::-1]
    file = root / IMAGES / picture.file_name
    cv2.imwrite(str(file), bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return picture


def hazed(image: NDArray[np.uint8], haze: float, rng: Rng) -> NDArray[np.uint8]:
    """The picture as seen through haze: mixed with a light grey, with camera noise.

    Args:
        image: uint8 (H, W, 3).
        haze: share of the contrast that is lost, from 0 to 1.

    Returns:
        uint8 (H, W, 3); the picture itself if `haze` is 0.
    """
    if not haze:
        return image
    noise = NOISE * rng.standard_normal(image.shape, np.float32)
    seen = (1 - haze) * image + haze * AIR + noise
    return seen.clip(0, 255).astype(np.uint8)


def _instances(pictures: list[_Picture]) -> dict[str, Any]:
    """COCO's `instances.json`: one polygon per part; a ring has a hole, which only RLE can express."""
    images = []
    annotations = []
    for picture in pictures:
        scene = picture.scene
        images.append(
            {
                "id": picture.image_id,
                "file_name": picture.file_name,
                "width": scene.width,
                "height": scene.height,
            }
        )
        for index, thing in enumerate(scene.things):
            annotations.append(_annotation(picture, index, thing))
    categories = []
    for kind, number in CATEGORIES.items():
        categories.append({"id": number, "name": kind, "supercategory": SUPERCATEGORY[kind]})
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotation(picture: _Picture, index: int, thing: Thing) -> dict[str, Any]:
    height = picture.scene.height
    width = picture.scene.width
    # One polygon per part; RLE where a hole is cut out.
    polygons = []
    for outline in thing.outlines():
        inside = np.clip(outline, 0, (width, height))  # a turned figure's corner may stick out
        polygons.append(np.round(inside, 2).ravel().tolist())
    rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    segmentation: Any = polygons
    if thing.kind == "ring":
        hole_outline = thing.place(RING_HOLE).ravel().tolist()
        hole = coco_mask.decode(coco_mask.frPyObjects([hole_outline], height, width)[0])
        ring = coco_mask.decode(rle) * (1 - hole)
        rle = coco_mask.encode(np.asfortranarray(ring))
        segmentation = {"size": [height, width], "counts": rle["counts"].decode()}
    return {
        "id": picture.ann_id(index),
        "image_id": picture.image_id,
        "category_id": CATEGORIES[thing.kind],
        "segmentation": segmentation,
        "area": float(coco_mask.area(rle)),
        "bbox": [float(v) for v in coco_mask.toBbox(rle)],
        "iscrowd": 0,
    }


def _references(pictures: list[_Picture], partition: Partition, spec: ShapesSpec) -> list[dict[str, Any]]:
    """The list in `refs(*).p`: a figure has a reference only if some expression of the data set fits it alone."""
    references: list[dict[str, Any]] = []
    sent_id = 0
    for picture, index, split, texts in _expressions(pictures, partition, spec):
        sentences = []
        for text in texts:
            sentences.append({"sent_id": sent_id, "raw": text, "sent": text, "tokens": text.split()})
            sent_id += 1
        references.append(
            {
                "ref_id": len(references) + 1,
                "ann_id": picture.ann_id(index),
                "image_id": picture.image_id,
                "category_id": CATEGORIES[picture.scene.things[index].kind],
                "file_name": f"{picture.file_name[:-4]}_{picture.ann_id(index)}.jpg",
                "split": split,
                "sent_ids": [s["sent_id"] for s in sentences],
                "sentences": sentences,
            }
        )
    return references


def _expressions(
    pictures: list[_Picture], partition: Partition, spec: ShapesSpec
) -> Iterator[tuple[_Picture, int, str, list[str]]]:
    """(picture, figure, split, texts) for everything that is referred to under a partition."""
    style = partition.folder
    stream = PAPER_PARTITIONS.names().index(partition.name) + 1
    for picture in pictures:
        rng = np.random.default_rng([spec.seed, picture.image_id, stream])
        # All figures are described, whether or not they get a reference: the draws that follow depend on it.
        referred = []
        for index in rng.permutation(len(picture.scene.things)).tolist():
            texts = express(picture.scene, index, style, spec.sentences, rng)
            if texts:
                referred.append((index, texts))
        splits = _splits(picture.pool, partition, rng)
        for (index, texts), split in zip(referred[: spec.references], splits, strict=False):
            yield picture, index, split, texts


def _splits(pool: str, partition: Partition, rng: Rng) -> list[str]:
    """The split of a picture's first, second, … reference. unc and umd partition pictures; google partitions objects,
    so pictures leak."""
    if partition.divided_by == "google":
        if pool not in ("train", "val"):
            return []
        splits = []
        for share in rng.random(16):
            # The same text objects each time: pickle writes them once, and the files are hashed.
            splits.append("val" if share < 0.15 else "train")
        return splits
    if partition.divided_by == "umd" and pool.startswith("test"):
        pool = "test"
    return [pool] * 16
