"""Sources of the sets that people evaluate on beside the release, made of the small release as their own files are."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco

from tests.datasets.importers.release import HEIGHT, WIDTH, Release

G_SPLITS = {"train": 3, "val": 1, "test": 2}


def write_root(root: Path) -> tuple[Release, Release]:
    """A root with RefCOCO and G-Ref (umd) in the public layout, whose images and ids are apart."""
    refcoco = Release()
    refcoco.write(root)
    gref = Release(G_SPLITS)
    for entry in gref.images:
        entry["id"] += 500
        entry["file_name"] = f"COCO_train2014_{entry['id']:012}.jpg"
    gref.pixels = {number + 500: pixels for number, pixels in gref.pixels.items()}
    for entry in (*gref.annotations, *gref.refs):
        entry["image_id"] += 500
    for entry in gref.annotations:
        entry["id"] += 1_000
    for entry in gref.refs:
        entry["ann_id"] += 1_000
    for entry in gref.images:
        (root / "images/train2014" / entry["file_name"]).write_bytes(gref.jpeg(entry["id"]))
    (root / "refcocog").mkdir()
    (root / "refcocog/refs(umd).p").write_bytes(pickle.dumps(gref.refs, 2))
    (root / "refcocog/instances.json").write_text(json.dumps(gref.instances))
    return refcoco, gref


def drawn(annotation: dict[str, Any]) -> np.ndarray:
    """The mask of an annotation by pycocotools, (H, W)."""
    return coco.decode(coco.frPyObjects(annotation["segmentation"], HEIGHT, WIDTH)).max(2)


def eroded(annotation: dict[str, Any]) -> np.ndarray:
    """Another mask of the same object: without its right and lower rim."""
    mask = drawn(annotation)
    inner = mask.copy()
    inner[:, :-1] &= mask[:, 1:]
    inner[:-1] &= mask[1:]
    return inner


def code(mask: np.ndarray) -> dict[str, Any]:
    """COCO's compressed RLE, its text as a string."""
    found = coco.encode(np.asfortranarray(mask))
    return {"counts": found["counts"].decode(), "size": [int(side) for side in found["size"]]}


def refcoco_m(release: Release, folder: Path) -> Path:
    """moondream/refcoco-m: two Parquet files, a row per image of val."""
    (folder / "data").mkdir(parents=True)
    rows = []
    for image in release.images:
        samples = []
        for ref, annotation, _ in release.rows():
            if ref["image_id"] == image["id"] and ref["split"] == "val":
                sample = {
                    "id": 7_000 + ref["ref_id"],
                    "image_id": image["id"],
                    "category": "person" if ref["category_id"] == 1 else "dog",
                    "supercategory": "thing",
                    "label": "a label",
                    "sentences": [s["sent"] for s in ref["sentences"]],
                    "bbox": annotation["bbox"],
                    "mask": code(eroded(annotation)),
                }
                samples.append(sample)
        if samples:
            held = {"bytes": release.jpeg(image["id"]), "path": None}
            row = {"image": held, "image_id": image["id"], "file_name": image["file_name"], "samples": samples}
            rows.append(row)
    for number, row in enumerate(rows):
        pq.write_table(pa.Table.from_pylist([row]), folder / f"data/validation-{number:05}-of-{len(rows):05}.parquet")
    return folder


def arefcoco(refcoco: Release, gref: Release, folder: Path) -> Path:
    """arefcoco.json: objects of both releases, whatever their split there."""
    folder.mkdir(parents=True)
    entries = []
    for name, release in (("refcoco", refcoco), ("refcocog", gref)):
        for place, ref in enumerate(release.refs):
            entry = {
                "entity_id": len(entries),
                "ref_id": ref["ref_id"],
                "original_dataset": name,
                "split": "test" if place % 3 == 0 else "train",
                "descriptions": [f"the other one, {name} {ref['ref_id']}", "it"],
            }
            entries.append(entry)
    path = folder / "arefcoco.json"
    path.write_text(json.dumps({"info": {"version": "1"}, "annotations": entries}))
    return path


def adversarial(gref: Release, folder: Path) -> Path:
    """refcocog_adv_annotations.json: ids as text, as in its README; one sentence has no adjective."""
    folder.mkdir(parents=True)
    entries = {}
    for ref in gref.refs:
        if ref["split"] != "test":
            continue
        for sentence in ref["sentences"]:
            entries[str(len(entries))] = {
                "shuffle": " ".join(reversed(sentence["sent"].split())),
                "adj_noun": f"big {sentence['sent'].split()[-2]}",
                "GT_bbox_number": "1",
                "raw_str": sentence["sent"],
                "noun_adj": "thing big",
                "bbox_candidates_map": '{"1": [1.0, 2.0, 3.0, 4.0]}',
                "adj": "" if not entries else "big",
                "must_words": "thing",
                "noun": "thing",
                "refID": str(ref["ref_id"]),
                "imgID": str(ref["image_id"]),
                "annID": str(ref["ann_id"]),
                "img_file_name": ref["file_name"],
            }
    path = folder / "refcocog_adv_annotations.json"
    path.write_text(json.dumps(entries))
    return path
