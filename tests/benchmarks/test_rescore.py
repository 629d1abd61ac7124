"""Predictions that are scored again: with the masks that they had, with others, and without sentences found wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from typer.testing import CliRunner

from barbench.benchmarks.rescore import rescore
from barbench.cli import app
from barbench.datasets.corrections import Correction, Label, NewMasks, ReviewedLabels, pair_labels
from barbench.datasets.pixels.masks import join_codes
from barbench.datasets.refer import read_annotations
from barbench.datasets.references import ReferData, Reference, Sentence
from barbench.datasets.sources import find_source
from barbench.errors import DataError, UsageError
from barbench.metrics import identity_columns, summarize_columns
from barbench.paper.partitions import PAPER_PARTITIONS, Partition
from barbench.results.expressions import join_masks, join_rivals, join_splits, of_split
from barbench.results.ranking import ranking
from barbench.results.record import Cell, DataIdentity, Record, SplitResult
from barbench.results.store import Store
from barbench.spec.dataset import resolve_dataset
from tests.datasets.importers.evaluation_sets import drawn, eroded, refcoco_m
from tests.datasets.importers.release import HEIGHT, WIDTH, Release

RELEASE = Release({"train": 2, "val": 8, "testA": 2, "testB": 2})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    RELEASE.write(folder)
    return folder


def predicted(noise: float, seed: int) -> dict[int, np.ndarray]:
    """A mask for each sentence of val: its object, of which pixels are wrong; once nothing and once everything."""
    rng = np.random.default_rng(seed)
    found = {}
    for ref, annotation, _ in RELEASE.rows():
        if ref["split"] == "val":
            for sentence in ref["sentences"]:
                wrong = rng.random((HEIGHT, WIDTH)) < noise
                found[sentence["sent_id"]] = (drawn(annotation) > 0) ^ wrong
    first, second, *_ = found
    found[first] = np.zeros((HEIGHT, WIDTH), bool)
    found[second] = np.ones((HEIGHT, WIDTH), bool)
    return found


def put(store: Store, root: Path, method: str, noise: float, seed: int = 0, masks: bool = True) -> Record:
    """A record of RefCOCO's val with counts and masks of `predicted`; the method's size follows the backbone."""
    dataset = resolve_dataset("refcoco", root)
    cell = Cell(
        method=method,
        options={f"{method}.size": 1},
        scaled=(f"{method}.size",),
        backbone="tiny",
        weights="w",
        dataset="refcoco",
        recipe={"name": "demo"},
        seed=seed,
        data=DataIdentity(kind="refer", fingerprint=find_source(str(root), dataset).fingerprint),
    )
    made = predicted(noise, seed)
    rows: dict[str, list[int]] = {}
    for ref, annotation, image in RELEASE.rows():
        truth = drawn(annotation) > 0
        for sentence in ref["sentences"] if ref["split"] == "val" else ():
            p = made[sentence["sent_id"]]
            values = {
                "intersection": (p & truth).sum(), "union": (p | truth).sum(), "area": truth.sum(),
                "control_intersection": 0, "control_union": 9, "sent_id": sentence["sent_id"],
                "ref_id": ref["ref_id"], "ann_id": ref["ann_id"], "image_id": image["id"],
                "category_id": ref["category_id"], "words": 2, "height": HEIGHT, "width": WIDTH,
            }  # fmt: skip
            for name, value in values.items():
                rows.setdefault(name, []).append(int(value))
    columns = {name: np.array(values, np.int64) for name, values in rows.items()}
    n = len(columns["sent_id"])
    rivals = {"row": np.arange(n), "ann_id": np.arange(n) + 1, "category_id": columns["category_id"]}
    rivals |= {"intersection": np.arange(n), "area": np.full(n, 500)}
    counts, offsets = join_codes([coco.encode(np.asfortranarray(p.astype(np.uint8)))["counts"] for p in made.values()])
    kept = {"counts": counts, "offsets": offsets, "height": columns["height"], "width": columns["width"]}
    kept["sent_id"] = np.array(list(made), np.int64)
    arrays = join_splits({"val": columns}) | join_rivals({"val": rivals})
    if masks:
        arrays |= join_masks({"val": kept})
    scores = summarize_columns(columns | identity_columns(columns, rivals))
    record = Record(
        id=cell.id(), cell=cell, title=method.upper(), composition=(method,), ledger={"adapter": 1}, status="done",
        splits={"val": SplitResult(scores=scores, column="val", images=8, references=16)},
    )  # fmt: skip
    store.save(record, arrays)
    saved = store.load(cell)
    assert saved is not None
    return saved


class OldMasks(NewMasks):
    """Gives every sentence the mask that it had."""

    def of(self, partition: Partition, split: str, data: ReferData) -> Correction | None:
        if split != "val":
            return None
        kept = {}
        for reference in data.split(split).references:
            for sentence in reference.sentences:
                kept[sentence.sent_id] = data.annotations[reference.ann_id].rle
        return Correction(kept, (), {})


def label_files(folder: Path, wrong: set[int], change: Any = None) -> Path:
    """Reviewed labels of val in MDETR's form; sentences of `wrong` are found wrong."""
    folder.mkdir()
    pictures, annotations = [], []
    for ref, annotation, image in RELEASE.rows():
        for sentence in ref["sentences"] if ref["split"] == "val" else ():
            row = len(pictures)
            pictures.append(
                {
                    "id": row, "original_id": image["id"], "caption": f"  {sentence['sent'].upper()} ",
                    "file_name": image["file_name"], "height": HEIGHT, "width": WIDTH, "tokens_negative": [[0, 4]],
                }
            )  # fmt: skip
            annotations.append(
                {
                    "id": row, "image_id": row, "original_id": ref["ann_id"], "bbox": annotation["bbox"],
                    "caption_quality": int(sentence["sent_id"] not in wrong), "tokens_positive": [[0, 4]],
                    "area": 1.0, "iscrowd": 0, "category_id": 1,
                }
            )  # fmt: skip
    raw = {"images": pictures, "annotations": annotations}
    if change is not None:
        change(raw)
    (folder / "refcoco_val_reviewed.json").write_text(json.dumps(raw))
    return folder


def test_the_masks_that_were_there_give_the_counts_bit_for_bit(root: Path, tmp_path: Path) -> None:
    store, out = Store(tmp_path / "runs"), Store(tmp_path / "out")
    record = put(store, root, "etris", 0.1)
    before = store.path(record.cell).read_bytes()
    (again,) = rescore(store, out, OldMasks([]), str(root)).records
    old, new = of_split(store, record, "val"), of_split(out, again, "val")
    for name, column in old.items():
        if not name.startswith("control"):
            assert np.array_equal(new[name], column), name
    assert again.splits["val"].scores == record.splits["val"].scores
    assert store.path(record.cell).read_bytes() == before
    assert again.id == record.id
    assert again.rescored is not None
    assert again.rescored.kind == "masks"


def test_labels_that_keep_everything_change_nothing(root: Path, tmp_path: Path) -> None:
    store, out = Store(tmp_path / "runs"), Store(tmp_path / "out")
    record = put(store, root, "etris", 0.1, masks=False)
    (again,) = rescore(store, out, ReviewedLabels(label_files(tmp_path / "labels", set())), str(root)).records
    assert again.splits["val"] == record.splits["val"].model_copy(update={"control": again.splits["val"].control})
    old, new = of_split(store, record, "val"), of_split(out, again, "val")
    assert old.keys() == new.keys()
    assert all(np.array_equal(new[name], column) for name, column in old.items())


def test_sentences_found_wrong_are_left_out(root: Path, tmp_path: Path) -> None:
    store, out = Store(tmp_path / "runs"), Store(tmp_path / "out")
    record = put(store, root, "etris", 0.1, masks=False)
    old = of_split(store, record, "val")
    wrong = set(old["sent_id"][::3].tolist())
    source = ReviewedLabels(label_files(tmp_path / "labels", wrong))
    (again,) = rescore(store, out, source, str(root)).records
    new = of_split(out, again, "val")
    left = ~np.isin(old["sent_id"], list(wrong))
    assert new["sent_id"].tolist() == old["sent_id"][left].tolist()
    ratios = old["intersection"][left] / old["union"][left]
    assert again.splits["val"].scores.miou == pytest.approx(ratios.mean())
    # The rival of each row is still its own.
    assert new["s_rival"] == pytest.approx(old["s_rival"][left])
    assert again.rescored is not None
    assert again.rescored.expressions == {"val": len(left)}
    assert again.rescored.revision == "unknown"
    assert out.load(record.cell) == again.model_copy(update={"files": (out.load(record.cell) or again).files})


def test_refcoco_m_scores_the_sentences_that_it_has(root: Path, tmp_path: Path) -> None:
    store, out = Store(tmp_path / "runs"), Store(tmp_path / "out")
    record = put(store, root, "etris", 0.05)
    folder = refcoco_m(RELEASE, tmp_path / "m")
    files = sorted((folder / "data").glob("*.parquet"))[1:]  # one image fewer
    found = rescore(store, out, NewMasks(files), str(root))
    (again,) = found.records
    new = of_split(out, again, "val")
    gone = RELEASE.images[2]["id"]
    assert gone in of_split(store, record, "val")["image_id"]
    assert gone not in new["image_id"]
    made = predicted(0.05, 0)
    annotations = {annotation["id"]: annotation for annotation in RELEASE.annotations}
    for row, sent_id in enumerate(new["sent_id"].tolist()):
        truth = eroded(annotations[int(new["ann_id"][row])]) > 0
        assert new["intersection"][row] == (made[sent_id] & truth).sum()
        assert new["union"][row] == (made[sent_id] | truth).sum()
        assert new["area"][row] == truth.sum()
    assert again.splits["val"].control is None
    assert "for 0 of them its id is that of the annotation" in found.notes[0]


@pytest.mark.parametrize("case", ["alien", "twice", "same folder", "other data", "no masks"])
def test_what_cannot_be_scored_again_is_refused(case: str, root: Path, tmp_path: Path) -> None:
    store, out = Store(tmp_path / "runs"), Store(tmp_path / "out")
    put(store, root, "etris", 0.1, masks=False)

    def change(raw: dict[str, Any]) -> None:
        if case == "alien":
            raw["images"][4]["caption"] = "another sentence"

    labels = ReviewedLabels(label_files(tmp_path / "labels", {20}, change))
    if case == "alien":
        with pytest.raises(UsageError, match=r"another sentence.*--allow-unmatched"):
            rescore(store, out, labels, str(root))
        (again,) = rescore(store, out, labels, str(root), allow_unmatched=True).records
        assert again.rescored is not None
        assert again.rescored.unmatched == {"val": 2}
    elif case == "same folder":
        with pytest.raises(UsageError, match="choose another"):
            rescore(store, Store(tmp_path / "runs"), labels, str(root))
    elif case == "other data":
        other = tmp_path / "other"
        Release({"train": 2, "val": 3, "testA": 2, "testB": 2}).write(other)
        with pytest.raises(DataError, match="is not what"):
            rescore(store, out, labels, str(other))
    elif case == "no masks":
        with pytest.raises(DataError, match="keep-masks"):
            rescore(store, out, OldMasks([]), str(root))
    assert case == "alien" or not out.all()


def reference(ref_id: int, ann_id: int, *texts: str) -> Reference:
    sentences = tuple(Sentence(10 * ref_id + place, text) for place, text in enumerate(texts))
    return Reference(ref_id, ann_id, 1, "thing", "val", sentences, (ann_id,))


def test_a_list_of_twenty_sentences() -> None:
    """18 that pair in order or by their words, two equal ones with different labels, and an alien label."""
    references = [reference(1, 100, "left man", "right man"), reference(2, 101, "same words", "same words")]
    references += [reference(number, 99 + number, f"a {number}", f"b {number}") for number in range(3, 10)]
    references.append(reference(10, 109, "first one", "second one"))
    labels = [Label(1, 100, " Left  MAN", True), Label(1, 100, "right man", False)]
    labels += [Label(1, 101, "same words", True), Label(1, 101, "same words", False)]
    for number in range(3, 10):
        labels += [Label(1, 99 + number, f"a {number}", number % 2 == 0), Label(1, 99 + number, f"b {number}", True)]
    labels += [Label(1, 109, "second one", False), Label(1, 109, "first one", True)]  # in another order
    labels.append(Label(1, 700, "an alien", True))
    keep, unmatched = pair_labels(labels, references)
    expected = {10: True, 11: False, 100: True, 101: False}
    for number in range(3, 10):
        expected |= {10 * number: number % 2 == 0, 10 * number + 1: True}
    assert keep == expected
    assert unmatched == ["sentence 20 'same words'", "sentence 21 'same words'", "label 'an alien' of object 700"]
    assert sum(len(one.sentences) for one in references) == 20


def test_whether_the_ranking_holds(root: Path, tmp_path: Path) -> None:
    store, out = Store(tmp_path / "runs"), Store(tmp_path / "out")
    for seed in (0, 1):
        put(store, root, "etris", 0.30, seed)
        put(store, root, "snf", 0.02, seed)
    folder = refcoco_m(RELEASE, tmp_path / "m")
    arguments = ["rescore", str(store.folder), "--out", str(out.folder), "--data", str(root)]
    for file in sorted((folder / "data").glob("*.parquet")):
        arguments += ["--masks", str(file)]
    answer = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}, catch_exceptions=False)
    assert answer.exit_code == 0
    assert "Does the ranking hold?" in answer.output
    found = ranking(store, out)
    assert [(row.method, row.rank_before, row.rank_after) for row in found.methods] == [("SNF", 1, 1), ("ETRIS", 2, 2)]
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.verdict) == ("SNF", "ETRIS", "holds")
    for row in found.methods:
        method = row.method.lower()
        records = [record for record in store.all() if record.cell.method == method]
        expected = np.mean([record.splits["val"].scores.miou for record in records])
        assert row.all == row.same == pytest.approx(100 * expected)
        assert row.after < row.all or method == "etris"


def test_one_of_labels_and_masks(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["rescore", str(tmp_path), "--out", str(tmp_path / "out")])
    assert isinstance(answer.exception, UsageError)


def test_the_reader_gives_the_masks_of_the_release(root: Path) -> None:
    data = read_annotations(root, PAPER_PARTITIONS.get("refcoco"))
    for ref, annotation, _ in RELEASE.rows():
        assert np.array_equal(data.mask(ref["ann_id"]), drawn(annotation))
