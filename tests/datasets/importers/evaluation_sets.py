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


def r_refcoco(release: Release, folder: Path, name: str = "rrefcoco") -> Path:
    """rrefcoco/refs(unc).p: of val, each reference has two sentences that mean nothing; elsewhere the key is absent."""
    (folder / name).mkdir(parents=True)
    refs = []
    for ref in release.refs:
        sentences = [dict(sentence) for sentence in ref["sentences"]]
        if ref["split"] == "val":
            for sentence in sentences:
                sentence["exist"] = True
            for number in range(2):
                text = f"the green dog {ref['ref_id']} {number}"
                own = {"sent_id": 90_000 + 10 * ref["ref_id"] + number, "sent": text, "raw": text, "tokens": []}
                sentences.append({**own, "exist": False})
        refs.append({**ref, "sentences": sentences})
    (folder / name / "refs(unc).p").write_bytes(pickle.dumps(refs, 2))
    (folder / name / "instances.json").write_text(json.dumps(release.instances))
    return folder / name


def ref_zom(release: Release, folder: Path) -> Path:
    """ref-zom/refs(final).p: one object, two, or none though an id is there; half of the images are of val2014."""
    home = folder / "ref-zom"
    home.mkdir(parents=True)
    images = [dict(entry) for entry in release.images]
    for place, entry in enumerate(images):
        if place % 2:
            entry["file_name"] = entry["file_name"].replace("train2014", "val2014")
    names = {entry["id"]: entry["file_name"] for entry in images}
    refs = []
    for place, ref in enumerate(release.refs):
        source = ("one", "many", "zero")[place % 3]
        others = [a["id"] for a in release.annotations if a["image_id"] == ref["image_id"]]
        refs.append(
            {
                **ref,
                "ann_id": others if source == "many" else ref["ann_id"],
                "source": source,
                "split": "test" if ref["split"].startswith("test") else "train",
                "file_name": names[ref["image_id"]],
            }
        )
    (home / "refs(final).p").write_bytes(pickle.dumps(refs, 2))
    (home / "instances.json").write_text(json.dumps({**release.instances, "images": images}))
    for entry in images:
        place = folder / "coco" / ("val2014" if "val2014" in entry["file_name"] else "train2014")
        place.mkdir(parents=True, exist_ok=True)
        (place / entry["file_name"]).write_bytes(release.jpeg(entry["id"]))
    return home


def refclef(release: Release, folder: Path) -> Path:
    """refclef/: text ids, masks in a left and a right part, two files of references, images without COCO's names."""
    home = folder / "refclef"
    home.mkdir(parents=True)
    images = [{**entry, "id": place, "file_name": f"{place}.jpg"} for place, entry in enumerate(release.images, 31)]
    new_ids = {entry["id"]: image["id"] for entry, image in zip(release.images, images, strict=True)}
    names: dict[int, str] = {}
    annotations = []
    for annotation in release.annotations:
        names[annotation["id"]] = f"{new_ids[annotation['image_id']]}_{annotation['id'] % 2 + 1}"
        mask = drawn(annotation)
        parts = [mask.copy(), mask.copy()]
        parts[0][:, WIDTH // 2 :] = 0
        parts[1][:, : WIDTH // 2 - 3] = 0
        entry = {
            "id": names[annotation["id"]],
            "image_id": new_ids[annotation["image_id"]],
            "category_id": annotation["category_id"],
            "segmentation": [code(part) for part in parts],
            "bbox": annotation["bbox"],
            "mask_name": f"{names[annotation['id']]}.mat",
        }
        annotations.append(entry)
    splits = {"train": "train", "val": "val", "testA": "testA", "testB": "testAB"}
    refs = []
    for ref in release.refs:
        own = {"ann_id": names[ref["ann_id"]], "image_id": new_ids[ref["image_id"]], "split": splits[ref["split"]]}
        refs.append({**ref, **own})
    berkeley = [{**ref, "split": "test" if ref["split"].startswith("test") else ref["split"]} for ref in refs]
    for name, held in (("unc", refs), ("berkeley", berkeley)):
        (home / f"refs({name}).p").write_bytes(pickle.dumps(held, 2))
    (home / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    (folder / "saiapr_tc-12").mkdir()
    for entry, image in zip(release.images, images, strict=True):
        (folder / "saiapr_tc-12" / image["file_name"]).write_bytes(release.jpeg(entry["id"]))
    return home


Polygons = list[list[list[list[float]]]]
PHRASES: tuple[tuple[int, str, Polygons], ...] = (
    # image, phrase, of each instance its polygons
    (1, "left box", [[[[5.9, 10.2], [20.0, 10.0], [20.7, 30.9], [5.0, 30.0]]]]),
    (1, "two boxes", [[[[5, 10], [20, 10], [20, 30], [5, 30]]], [[[40, 12], [60, 12], [60, 50]], [[70, 5], [80, 9]]]]),
    (2, "thin thing", [[[[3, 3], [90, 60]], [[50, 50]]]]),
)


def phrasecut(release: Release, folder: Path) -> Path:
    """refer_<split>.json and the images' data; every second image is not COCO's."""
    (folder / "images").mkdir(parents=True)
    images = []
    for number, (split, entry) in enumerate(zip(("train", "val", "test", "miniv"), release.images, strict=False)):
        first = 2_000 + 10 * number
        for place in (1, 2):
            coco_id = 500 + first + place if place == 1 else None
            own = {"image_id": first + place, "coco_id": coco_id, "width": WIDTH, "height": HEIGHT, "split": split}
            images.append(own)
            (folder / "images" / f"{first + place}.jpg").write_bytes(release.jpeg(entry["id"]))
        tasks = []
        for task, (place, phrase, polygons) in enumerate(PHRASES):
            tasks.append(
                {
                    "task_id": f"{first + place}__{task}",
                    "image_id": first + place,
                    "ann_ids": [1],
                    "instance_boxes": [[1, 2, 3, 4]],
                    "Polygons": polygons,
                    "phrase": f"{phrase} of {split}",
                    "phrase_structure": {"name": phrase.split()[-1], "attributes": [], "type": "name"},
                }
            )
        (folder / f"refer_{split}.json").write_text(json.dumps(tasks))
    (folder / "image_data_split3000.json").write_text(json.dumps(images))
    return folder
