"""Whole runs by hand: records with scores that follow from arrays of expressions, cost, history and environment."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from barbench.results.expressions import join_masks
from barbench.results.record import EpochLog, Profile, Record, Scores
from barbench.results.store import Store

KINDS = ("bare name", "attribute", "location", "relation")
SPLITS = {"refcoco": ("val", "testA", "testB"), "refcoco+": ("val", "testA", "testB"), "refcocog-u": ("val", "test")}
NAMES = {("refcocog-u", "val"): "val(u)", ("refcocog-u", "test"): "test(u)"}


def expressions(images: int, skill: float, seed: int) -> dict[str, NDArray[Any]]:
    """Arrays as `barbench run` leaves them: four expressions an image; `skill` is about the mean IoU."""
    what, luck = np.random.default_rng(images), np.random.default_rng(seed)
    n = 4 * images
    words, kind = what.integers(1, 9, n), what.integers(0, len(KINDS), n)
    height, width = what.integers(300, 640, n), what.integers(300, 640, n)
    area = (height * width * what.uniform(0.01, 0.3, n)).astype(np.int64)
    iou = np.clip(luck.normal(skill - 0.02 * words - 0.03 * kind, 0.25), 0, 1)
    columns = {
        "intersection": (iou * area).astype(np.int64),
        "union": area,
        "control_intersection": (0.1 * area).astype(np.int64),
        "control_union": area,
        "sent_id": np.arange(n),
        "ref_id": np.arange(n) // 2,
        "ann_id": np.arange(n) // 2,
        "image_id": np.arange(n) // 4,
        "words": words,
        "height": height,
        "width": width,
        "area": area,
        "kind": kind,
    }
    return {name: np.asarray(column, np.int64) for name, column in columns.items()}


def scores(intersection: NDArray[Any], union: NDArray[Any]) -> Scores:
    iou = intersection / np.maximum(union, 1)
    shares = {f"p{int(100 * t)}": float((iou > t).mean()) for t in (0.5, 0.6, 0.7, 0.8, 0.9)}
    return Scores(miou=float(iou.mean()), oiou=float(intersection.sum() / union.sum()), n=len(iou), **shares)


def save(
    store: Store,
    make: Callable[..., Record],
    method: str,
    protocol: str,
    *,
    skill: float = 0.5,
    images: int = 40,
    seed: int = 0,
    epochs: int = 5,
    fields: Mapping[str, object] | None = None,
    drop: tuple[str, ...] = (),
    **cell: object,
) -> Record:
    """A finished record with everything, saved with its arrays, without those that `drop` names."""
    arrays = {
        f"{split}/{name}": column
        for at, split in enumerate(SPLITS[protocol])
        for name, column in expressions(images, skill - 0.03 * at, 100 * seed + at).items()
    }
    plain = make(method, protocol, dict.fromkeys(SPLITS[protocol], 50), seed=seed, **cell)
    splits = {}
    for split, result in plain.splits.items():
        own = {name: arrays[f"{split}/{name}"] for name in ("intersection", "union", "control_intersection")}
        splits[split] = result.model_copy(
            update={
                "scores": scores(own["intersection"], own["union"]),
                "control": scores(own["control_intersection"], own["union"]),
                "column": NAMES.get((protocol, split), split),
                "images": images,
            }
        )
    size = 1 + plain.ledger["adapter"] / 1e6
    record = plain.model_copy(
        update={
            "splits": splits,
            "kinds": KINDS,
            "profile": Profile(
                flops_forward=int(1e10 * size),
                saved_bytes=10**8,
                saved_bytes_batch=8,
                peak_memory_bytes=int((3 + 0.9 * size + 0.05 * seed) * 2**30),
                peak_memory_kind="process RSS",
                train_images_per_s=20 / size + seed,
                infer_images_per_s=55 / size + seed,
                batch=8,
                device="cpu",
            ),
            "history": tuple(
                EpochLog(epoch=e, loss=0.3 / (e + skill) + 0.01 * seed, lr=1e-3 / e, seconds=60, steps=50)
                for e in range(1, epochs + 1)
            ),
            "environment": {
                "python": "3.11.9",
                "platform": "Linux x86_64",
                "packages": {"barbench": "0.1.0", "torch": "2.15.0", "numpy": "2.4.1"},
                "device": "Some CPU @ 2.0 GHz",
                "threads": 2,
                "commit": "0123456789abcdef0123456789abcdef01234567",
                "dirty": False,
            },
            "timings": {"loading": 3.0, "training": 60.0 * epochs, "evaluating": 25.0, "total": 30 + 60.0 * epochs},
            "data_problems": {"empty mask": 3, "expression longer than the context": 1},
            **(fields or {}),
        }
    )
    record = Record.model_validate(record.model_dump())
    store.save(record, {key: column for key, column in arrays.items() if key.partition("/")[2] not in drop})
    return record


def keep(store: Store, title: str, drawn: Mapping[str, Sequence[NDArray[np.bool_]]]) -> None:
    """Store masks beside the record of seed 0, as `run --keep-masks` does: for each split one of each expression."""
    (record,) = [r for r in store.all() if r.title == title and r.cell.seed == 0]
    arrays = dict(store.expressions(record.cell))
    kept = {}
    for split, masks in drawn.items():
        codes = [coco.encode(np.asfortranarray(each.astype(np.uint8)))["counts"] for each in masks]
        kept[split] = {
            "counts": np.frombuffer(b"".join(codes), np.uint8),
            "offsets": np.cumsum([0, *map(len, codes)]),
            "sent_id": arrays[f"{split}/sent_id"],
            "height": np.array([each.shape[0] for each in masks]),
            "width": np.array([each.shape[1] for each in masks]),
        }
    store.save(record, arrays | join_masks(kept))
