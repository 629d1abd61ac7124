"""gRefCOCO: several targets, no target, what trains, and what the swapped control compares with."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from barbench.datasets.audit import verify
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferData
from barbench.datasets.samples import EvalSamples, TrainSamples
from barbench.datasets.tokens import Tokens
from barbench.errors import DataError, MissingData
from barbench.paper.partitions import GREFCOCO, PAPER_PARTITIONS
from tests.datasets.generalized import HEIGHT, LEFT, RIGHT, WIDTH, write_grefcoco


@pytest.fixture
def general(tmp_path: Path) -> Path:
    return write_grefcoco(tmp_path / "data")


def drawn(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x, y, w, h in boxes:
        mask[y : y + h, x : x + w] = 1
    return mask


def by_text(data: ReferData) -> dict[str, Any]:
    return {s.text: r for r in data.split("val").references for s in r.sentences}


def test_one_several_and_no_target(general: Path) -> None:
    data = read_refer(general, GREFCOCO)
    found = by_text(data)
    np.testing.assert_array_equal(data.mask(found["red box"].ann_id), drawn(LEFT))
    np.testing.assert_array_equal(data.mask(found["both boxes"].ann_id), drawn(LEFT, RIGHT))
    np.testing.assert_array_equal(data.mask(found["the green dog"].ann_id), drawn())
    assert [len(found[text].targets) for text in ("red box", "both boxes", "the green dog")] == [1, 2, 0]
    assert found["both boxes"].category == "red, blue"
    assert len({r.ann_id for r in data.references}) == len(data.references)
    assert not data.problems.found
    assert verify(general, [GREFCOCO], "real").ok


def test_what_means_nothing_trains_with_an_empty_mask(general: Path, tokens: Tokens) -> None:
    split = read_refer(general, GREFCOCO).split("train")
    samples = TrainSamples(split, Letterbox(64), tokens, seed=0)
    assert len(samples) == len(split.references) == 24
    batch = samples[list(range(3))]
    assert batch.masks.amax((1, 2)).tolist() == [1, 1, 0]


def test_the_control_shares_no_pixel_with_the_target(general: Path, tokens: Tokens) -> None:
    """The left box's other references are the union, which holds it, and nothing: there is no partner. With a reference
    to the right box there is one."""
    path = general / "grefcoco/grefs(unc).json"
    refs = json.loads(path.read_text())
    [first] = [r for r in refs if r["split"] == "val" and len(r["ann_id"]) == 1][:1]
    samples = EvalSamples(read_refer(general, GREFCOCO).split("val"), Letterbox(64), tokens)
    assert {samples.partner(i) for i in range(len(samples))} == {None}
    right = {**first, "ref_id": 900, "ann_id": [first["ann_id"][0] + 1], "sent_ids": [9000],
             "sentences": [{"sent_id": 9000, "sent": "right"}]}  # fmt: skip
    path.write_text(json.dumps([*refs, right]))
    samples = EvalSamples(read_refer(general, GREFCOCO).split("val"), Letterbox(64), tokens)
    partners = {e.sentence.text: samples.partner(i) for i, e in enumerate(samples.expressions)
                if e.reference.image_id == first["image_id"]}  # fmt: skip
    assert {text: None if p is None else p.ref_id for text, p in partners.items()} == {
        "the left box": 900, "red box": 900, "both boxes": None, "the green dog": None, "right": first["ref_id"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(ann_id=["x"]), r"entry 4 of its references: 'ann_id': 'x' is not a whole number"),
        (lambda r: r.update(ann_id={"a": 1}), r"entry 4 of its references: 'ann_id': a dict is not a whole number"),
        (lambda r: r.pop("category_id"), r"entry 4 of its references: it lacks the key 'category_id'"),
    ],
)
def test_broken_entries_are_named(general: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    path = general / "grefcoco/grefs(unc).json"
    refs = json.loads(path.read_text())
    change(refs[4])
    path.write_text(json.dumps(refs))
    with pytest.raises(DataError, match=rf"grefs\(unc\)\.json does not hold REFER references: {words}"):
        read_refer(general, GREFCOCO)


def test_a_target_without_annotation_is_a_problem(general: Path) -> None:
    path = general / "grefcoco/grefs(unc).json"
    refs = json.loads(path.read_text())
    refs[1]["ann_id"].append(77777)
    path.write_text(json.dumps(refs))
    assert read_refer(general, GREFCOCO).problems.counts() == {"reference without annotation": 1}


def test_it_is_beside_the_papers_four() -> None:
    assert GREFCOCO.name not in PAPER_PARTITIONS
    assert GREFCOCO.allows_no_target
    assert not any(partition.allows_no_target for partition in PAPER_PARTITIONS)


@pytest.mark.parametrize("nothing", [-1, "-1", ["-1"], None, [None]])
def test_nothing_in_other_forms(general: Path, nothing: Any) -> None:
    path = general / "grefcoco/grefs(unc).json"
    due = by_text(read_refer(general, GREFCOCO))
    refs = json.loads(path.read_text())
    for ref in refs:
        if ref["ann_id"] == [-1]:
            ref.update(ann_id=nothing, category_id=nothing)
    path.write_text(json.dumps(refs))
    found = by_text(read_refer(general, GREFCOCO))
    assert {text: r.targets for text, r in found.items()} == {text: r.targets for text, r in due.items()}


def test_the_pickle_that_the_authors_look_for_first(general: Path) -> None:
    path = general / "grefcoco/grefs(unc).json"
    before = read_refer(general, GREFCOCO).references
    path.with_suffix(".p").write_bytes(pickle.dumps(json.loads(path.read_text())))
    path.unlink()
    assert read_refer(general, GREFCOCO).references == before
    (general / "grefcoco/grefs(unc).p").unlink()
    with pytest.raises(MissingData, match=r"no grefs\(unc\)\.json for grefcoco"):
        read_refer(general, GREFCOCO)


def test_crowds_are_left_out_of_the_mask(general: Path) -> None:
    """As in the authors' loader: annotations with `iscrowd` are no part of what is meant."""
    path = general / "grefcoco/instances.json"
    value = json.loads(path.read_text())
    due = by_text(read_refer(general, GREFCOCO))
    crowd = due["both boxes"].targets[1]
    for entry in value["annotations"]:
        entry["iscrowd"] = int(entry["id"] == crowd)
    path.write_text(json.dumps(value))
    data = read_refer(general, GREFCOCO)
    both = by_text(data)["both boxes"]
    np.testing.assert_array_equal(data.mask(both.ann_id), drawn(LEFT))
    assert both.targets == due["both boxes"].targets, "as many objects are meant as before"
    assert data.problems.counts() == {"crowd among the objects meant": 1}


def test_a_reference_of_nothing_that_names_an_object_is_refused(general: Path) -> None:
    """`zero` references of Ref-ZOM may have an ann_id all the same."""
    path = general / "grefcoco/grefs(unc).json"
    refs = json.loads(path.read_text())
    refs[0]["source"] = "zero"
    path.write_text(json.dumps(refs))
    with pytest.raises(DataError, match="entry 0 of its references: 'source' is 'zero'"):
        read_refer(general, GREFCOCO)
