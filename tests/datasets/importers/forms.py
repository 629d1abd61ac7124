"""The small release in the forms of Hugging Face, CRIS, MDETR and mmdetection, and as a table of one's own."""

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import lmdb
import pyarrow as pa
import pyarrow.parquet as pq

from tests.datasets.importers.release import Release

JXU_SPLITS = {"train": "train", "val": "validation", "testA": "test", "testB": "testB"}


def jxu(release: Release, folder: Path) -> Path:
    """jxu124/refcoco: a Parquet file per split, testA's called `test`."""
    (folder / "data").mkdir(parents=True)
    for split, name in JXU_SPLITS.items():
        rows = [
            {
                "sent_ids": ref["sent_ids"],
                "file_name": ref["file_name"],
                "ann_id": ref["ann_id"],
                "ref_id": ref["ref_id"],
                "image_id": ref["image_id"],
                "split": name,
                "sentences": [{k: s[k] for k in ("raw", "sent", "sent_id", "tokens")} for s in ref["sentences"]],
                "category_id": ref["category_id"],
                "raw_anns": json.dumps(annotation),
                "raw_image_info": json.dumps(image),
                "raw_sentences": json.dumps(ref["sentences"]),
                "image_path": f"coco/train2014/{image['file_name']}",
                "bbox": annotation["bbox"],
                "captions": [s["raw"] for s in ref["sentences"]],
                "global_image_id": f"coco.{image['id']}",
                "anns_id": str(annotation["id"]),
            }
            for ref, annotation, image in release.rows()
            if ref["split"] == split
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"data/{name}-00000-of-00001-0026a904.parquet")
    return folder


def lmms(release: Release, folder: Path, splits: dict[str, str] | None = None) -> Path:
    """lmms-lab/RefCOCO: images inside, one part of each object, float32. It has no train; the tests need one."""
    schema = pa.schema(
        {
            "question_id": pa.string(),
            "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
            "question": pa.string(),
            "answer": pa.list_(pa.string()),
            "segmentation": pa.list_(pa.float32()),
            "bbox": pa.list_(pa.float32()),
            "iscrowd": pa.int8(),
            "file_name": pa.string(),
        }
    )
    (folder / "data").mkdir(parents=True)
    for split, name in (splits or {name: name for name in ("train", "val", "testA", "testB")}).items():
        rows: list[dict[str, Any]] = [
            {
                "question_id": str(annotation["id"]),
                "image": {"bytes": release.jpeg(image["id"]), "path": image["file_name"]},
                "question": "Please carefully observe the area …",
                "answer": [s["sent"] for s in ref["sentences"]],
                "segmentation": annotation["segmentation"][0],
                "bbox": annotation["bbox"],
                "iscrowd": 0,
                "file_name": ref["file_name"],
            }
            for ref, annotation, image in release.rows()
            if ref["split"] == split
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"data/{name}-00000-of-00001.parquet")
    return folder


def mask_folders(release: Release, folder: Path) -> Path:
    """CRIS: anns/refcoco/<split>.json, masks/refcoco/<ref_id>.png, images/train2014."""
    (folder / "anns/refcoco").mkdir(parents=True)
    (folder / "masks/refcoco").mkdir(parents=True)
    release.write_images(folder / "images/train2014")
    entries: dict[str, list[dict[str, Any]]] = {}
    for ref, annotation, image in release.rows():
        (folder / f"masks/refcoco/{ref['ref_id']}.png").write_bytes(release.mask_png(annotation))
        entries.setdefault(ref["split"], []).append(
            {
                "bbox": [int(v) for v in annotation["bbox"]],
                "cat": {1: 0, 18: 16}[ref["category_id"]],
                "segment_id": ref["ref_id"],
                "img_name": image["file_name"],
                "sentences": [
                    {"idx": i, "sent_id": s["sent_id"], "sent": s["sent"]} for i, s in enumerate(ref["sentences"])
                ],
                "sentences_num": len(ref["sentences"]),
            }
        )
    for split, values in entries.items():
        (folder / f"anns/refcoco/{split}.json").write_text(json.dumps(values))
    return folder


def lmdb_files(release: Release, folder: Path) -> Path:
    """The LMDB files of CRIS's forks that write with pickle: lmdb/refcoco/<split>.lmdb."""
    home = folder / "lmdb/refcoco"
    home.mkdir(parents=True)
    for split in ("train", "val", "testA", "testB"):
        rows = [row for row in release.rows() if row[0]["split"] == split]
        with (
            lmdb.open(str(home / f"{split}.lmdb"), subdir=False, map_size=1 << 24) as store,
            store.begin(write=True) as put,
        ):
            for number, (ref, annotation, image) in enumerate(rows):
                value = {
                    "img": release.jpeg(image["id"]),
                    "mask": release.mask_png(annotation),
                    "cat": {1: 0, 18: 16}[ref["category_id"]],
                    "seg_id": ref["ref_id"],
                    "img_name": image["file_name"],
                    "num_sents": len(ref["sentences"]),
                    "sents": [s["sent"] for s in ref["sentences"]],
                }
                put.put(str(number).encode(), pickle.dumps(value))
            put.put(b"__keys__", pickle.dumps([str(n).encode() for n in range(len(rows))]))
            put.put(b"__len__", pickle.dumps(len(rows)))
    return folder


def mdetr(release: Release, folder: Path, odvg: bool = False) -> Path:
    """MDETR's finetune_refcoco_<split>.json; with `odvg` train as mmdetection converts it."""
    folder.mkdir(parents=True)
    next_id = 0
    for split in ("train", "val", "testA", "testB"):
        images, annotations, lines = [], [], []
        for ref, annotation, image in release.rows():
            for sentence in ref["sentences"] if ref["split"] == split else ():
                images.append(
                    {
                        "file_name": image["file_name"],
                        "height": image["height"],
                        "width": image["width"],
                        "id": next_id,
                        "original_id": image["id"],
                        "caption": sentence["sent"],
                        "dataset_name": "refcoco",
                        "tokens_negative": [[0, len(sentence["sent"])]],
                    }
                )
                annotations.append(
                    {
                        **{key: annotation[key] for key in ("area", "iscrowd", "category_id", "bbox")},
                        "image_id": next_id,
                        "id": next_id,
                        "original_id": annotation["id"],
                        "tokens_positive": [[0, 4]],
                    }
                )
                x, y, w, h = annotation["bbox"]
                box = [x, y, min(x + w, image["width"]), min(y + h, image["height"])]
                region = {"bbox": box, "phrase": sentence["sent"][:4], "tokens_positive": [[0, 4]]}
                grounding = {"caption": sentence["sent"], "regions": [region]}
                lines.append(
                    {
                        "filename": image["file_name"],
                        "height": image["height"],
                        "width": image["width"],
                        "grounding": grounding,
                    }
                )
                next_id += 1
        if odvg and split == "train":
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / "finetune_refcoco_train_vg.json").write_text(text)
        else:
            value = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": []}
            (folder / f"finetune_refcoco_{split}.json").write_text(json.dumps(value))
    return folder


def table(release: Release, folder: Path, masks: bool) -> Path:
    """refcoco.csv with polygons, or with mask files."""
    release.write_images(folder / "photos")
    (folder / "masks").mkdir()
    with (folder / "refcoco.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "expression", "mask", "polygon", "split", "category"])
        writer.writeheader()
        for ref, annotation, image in release.rows():
            if masks:
                (folder / f"masks/{ref['ref_id']}.png").write_bytes(release.mask_png(annotation))
            for sentence in ref["sentences"]:
                writer.writerow(
                    {
                        "image": f"photos/{image['file_name']}",
                        "expression": sentence["sent"],
                        "mask": f"masks/{ref['ref_id']}.png" if masks else "",
                        "polygon": "" if masks else json.dumps(annotation["segmentation"]),
                        "split": ref["split"],
                        "category": ref["category_id"],
                    }
                )
    return folder
