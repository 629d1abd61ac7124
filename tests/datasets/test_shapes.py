"""Shapes keep what they promise: equal bytes from equal seeds, and words that mean one thing.

The words are read here by a small parser of its own and tested on the scene as `instances.json` places it; only looks
(colour, texture, size), which COCO's format does not hold, are taken from the scene drawn again.
"""

import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco
from typer.testing import CliRunner

from barbench.cli import app
from barbench.datasets import shapes
from barbench.datasets.audit import verify
from barbench.datasets.pickles import load_plain
from barbench.datasets.shapes import ShapesSpec, make_shapes
from barbench.datasets.shapes.language import propose, vocabulary
from barbench.datasets.shapes.make import AIR, NOISE, POOLS, hazed
from barbench.datasets.shapes.scene import COLOURS, Scene, sample_scene
from barbench.paper.partitions import PAPER_PARTITIONS
from tests.conftest import SPEC
from tools.captions import captioned_batch, truth

STYLES = {"refcoco": "refs(unc).p", "refcoco+": "refs(unc).p", "refcocog": "refs(umd).p"}
PEOPLE = {"man", "woman", "child"}
PLACES = {"left", "right", "top", "bottom", "middle", "above", "below"}
RELATION = re.compile(r"^(.*?)(?: that is| placed)? (to the left of|to the right of|above|below) the (.*)$")


class Figure(NamedTuple):
    """Kind and centre as instances.json has them, looks as drawn."""

    ann_id: int
    kind: str
    x: float
    y: float
    words: frozenset[str]


class Picture(NamedTuple):
    width: int
    height: int
    figures: list[Figure]


def references(root: Path, folder: str, file: str) -> list[dict[str, Any]]:
    value: list[dict[str, Any]] = load_plain(root / folder / file)
    return value


def sentences(root: Path, folder: str) -> list[str]:
    return [s["sent"] for r in references(root, folder, STYLES[folder]) for s in r["sentences"]]


def scene_again(image_id: int, spec: ShapesSpec = SPEC) -> Scene:
    pool = next(p for p, n in zip(POOLS, np.cumsum([getattr(spec, p) for p in POOLS]), strict=True) if image_id <= n)
    rng = np.random.default_rng([spec.seed, image_id])
    width, height = (int(rng.integers(spec.sides[0], spec.sides[1] + 1)) for _ in range(2))
    return sample_scene(rng, width, height, int(rng.integers(spec.things[0], spec.things[1] + 1)), POOLS[pool])


@pytest.fixture(scope="module")
def pictures(shapes_root: Path) -> dict[int, Picture]:
    instances = json.loads((shapes_root / "refcoco/instances.json").read_text())
    kinds = {c["id"]: c["name"] for c in instances["categories"]}
    held = defaultdict(list)
    for annotation in instances["annotations"]:
        held[annotation["image_id"]].append(annotation)
    found = {}
    for image in instances["images"]:
        scene = scene_again(image["id"])
        assert (scene.width, scene.height) == (image["width"], image["height"])
        figures = []
        for annotation, thing in zip(held[image["id"]], scene.things, strict=True):
            kind = kinds[annotation["category_id"]]
            assert kind == thing.kind
            x, y, w, h = annotation["bbox"]
            assert x - 1 <= thing.x <= x + w + 1
            assert y - 1 <= thing.y <= y + h + 1
            family = "person" if kind in PEOPLE else "shape"
            words = frozenset({kind, family, thing.colour, thing.texture, thing.size})
            figures.append(Figure(annotation["id"], kind, thing.x, thing.y, words))
        found[image["id"]] = Picture(image["width"], image["height"], figures)
    return found


def looks(text: str) -> set[str]:
    return set(text.split()) - PLACES - {"the", "a", "an", "in", "on", "at", "that", "is", "placed", ""}


def meant(text: str, picture: Picture) -> list[int]:
    """Annotations that `text` fits, by the rules of the generator's documentation: a zone is the outer 40 % or the
    middle 40 %; a relation holds by 8 % of the short side and along its axis more than across."""
    width, height, figures = picture
    first, relation, second = ((found := RELATION.match(text)) and found.groups()) or (text, "", "")
    fits = [f for f in figures if looks(first) <= f.words]
    if relation:
        others = [f for f in figures if looks(second) <= f.words]
        least = 0.08 * min(width, height)

        def stands(a: Figure, b: Figure) -> bool:
            dx, dy = b.x - a.x, b.y - a.y
            ahead, aside = {"to the left of": (dx, dy), "to the right of": (-dx, dy), "above": (dy, dx)}.get(
                relation, (-dy, dx)
            )
            return ahead > least and ahead > abs(aside)

        fits = [a for a in fits if any(a is not b and stands(a, b) for b in others)]
    else:
        for place in PLACES & set(text.split()):
            fits = [
                f
                for f in fits
                if {
                    "left": f.x < 0.4 * width,
                    "right": f.x > 0.6 * width,
                    "top": f.y < 0.4 * height,
                    "bottom": f.y > 0.6 * height,
                    "middle": abs(f.x / width - 0.5) < 0.2 and abs(f.y / height - 0.5) < 0.2,
                }[place]
            ]
    return [f.ann_id for f in fits]


def test_the_same_spec_gives_the_same_bytes(tmp_path: Path) -> None:
    spec = replace(SPEC, train=3, val=1, testA=1, testB=1)
    for name, seed, processes in (("a", 0, 1), ("b", 0, 2), ("c", 1, 1)):
        make_shapes(tmp_path / name, replace(spec, seed=seed), processes=processes)

    def content(name: str) -> dict[str, bytes]:
        return {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}

    assert content("a") == content("b")
    assert len(content("a")) == 6 + 3 + 4 + 1
    differs = [n for n, b in content("c").items() if content("a")[n] != b]
    assert len([n for n in differs if n.endswith(".jpg")]) == 6


def test_the_fingerprint_depends_on_every_field() -> None:
    changes: list[dict[str, Any]] = [
        {"train": 17}, {"val": 5}, {"testA": 5}, {"testB": 5}, {"sides": (64, 97)}, {"things": (3, 5)},
        {"references": 2}, {"sentences": 4}, {"seed": 4}, {"haze": 0.5},
    ]  # fmt: skip
    assert {next(iter(c)) for c in changes} == set(ShapesSpec.__dataclass_fields__)
    prints = {replace(SPEC, **change).fingerprint() for change in changes} | {SPEC.fingerprint()}
    assert len(prints) == len(changes) + 1
    assert replace(SPEC).fingerprint() == SPEC.fingerprint()


@pytest.mark.parametrize("partition", list(PAPER_PARTITIONS), ids=lambda p: p.name)
def test_every_expression_fits_its_object_alone(
    partition: Any, shapes_root: Path, pictures: dict[int, Picture]
) -> None:
    checked = 0
    for reference in references(shapes_root, partition.folder, partition.refs_file):
        for sentence in reference["sentences"]:
            assert set(sentence["sent"].split()) <= set(vocabulary())
            assert meant(sentence["sent"], pictures[reference["image_id"]]) == [reference["ann_id"]], sentence["sent"]
            checked += 1
    assert checked > 50


def test_many_expressions_need_more_than_the_kind(shapes_root: Path, pictures: dict[int, Picture]) -> None:
    """Distractors make the words necessary: most objects referred to have a sibling of their kind or colour."""
    shared = []
    for reference in references(shapes_root, "refcoco+", STYLES["refcoco+"]):
        figures = pictures[reference["image_id"]].figures
        own = next(f for f in figures if f.ann_id == reference["ann_id"])
        colour = own.words & set(COLOURS)
        shared.append(any(f is not own and (f.kind == own.kind or f.words & colour) for f in figures))
    assert np.mean(shared) > 0.5


def test_refcoco_plus_never_speaks_of_places(shapes_root: Path) -> None:
    assert not [t for t in sentences(shapes_root, "refcoco+") if set(t.split()) & PLACES]


def test_refcoco_mostly_does(shapes_root: Path) -> None:
    texts = sentences(shapes_root, "refcoco")
    placed = [bool(set(t.split()) & PLACES) for t in texts]
    assert 0.4 < np.mean(placed) < 1
    assert not any(RELATION.match(t) for t in texts)


def test_refcocog_relates_and_is_longer(shapes_root: Path) -> None:
    long, short = sentences(shapes_root, "refcocog"), sentences(shapes_root, "refcoco+")
    assert np.mean([bool(RELATION.match(t)) for t in long]) > 0.6
    assert np.mean([len(t.split()) for t in long]) > 1.8 * np.mean([len(t.split()) for t in short])


@pytest.mark.parametrize("folder", ["refcoco", "refcoco+"])
def test_test_a_shows_people_and_test_b_objects(folder: str, shapes_root: Path, pictures: dict[int, Picture]) -> None:
    kinds: dict[str, set[str]] = defaultdict(set)
    for reference in references(shapes_root, folder, STYLES[folder]):
        kinds[reference["split"]] |= {f.kind for f in pictures[reference["image_id"]].figures}
    assert kinds.keys() == {"train", "val", "testA", "testB"}
    assert kinds["testA"] <= PEOPLE
    assert not kinds["testB"] & PEOPLE
    assert kinds["train"] & PEOPLE
    assert kinds["train"] - PEOPLE


def splits_of_images(root: Path, folder: str, file: str) -> dict[int, set[str]]:
    splits = defaultdict(set)
    for reference in references(root, folder, file):
        splits[reference["image_id"]].add(reference["split"])
    return splits


@pytest.mark.parametrize("folder", STYLES)
def test_unc_and_umd_divide_images(folder: str, shapes_root: Path) -> None:
    assert all(len(s) == 1 for s in splits_of_images(shapes_root, folder, STYLES[folder]).values())


def test_google_divides_objects_so_that_images_leak(shapes_root: Path) -> None:
    splits = splits_of_images(shapes_root, "refcocog", "refs(google).p")
    assert set().union(*splits.values()) == {"train", "val"}
    assert [image for image, names in splits.items() if names == {"train", "val"}]


def test_ids_are_unique_and_sentences_hang_together(shapes_root: Path) -> None:
    for partition in PAPER_PARTITIONS:
        found = references(shapes_root, partition.folder, partition.refs_file)
        assert max(Counter(r["ref_id"] for r in found).values()) == 1
        assert max(Counter(r["ann_id"] for r in found).values()) == 1
        assert max(Counter(s["sent_id"] for r in found for s in r["sentences"]).values()) == 1
        assert all(r["sent_ids"] == [s["sent_id"] for s in r["sentences"]] for r in found)
        assert all(len({s["sent"] for s in r["sentences"]}) == len(r["sentences"]) for r in found)


def test_rings_are_run_lengths_with_a_hole_and_the_rest_polygons(shapes_root: Path) -> None:
    instances = json.loads((shapes_root / "refcoco/instances.json").read_text())
    kinds = {c["id"]: c["name"] for c in instances["categories"]}
    rings = 0
    for annotation in instances["annotations"]:
        ring = kinds[annotation["category_id"]] == "ring"
        assert isinstance(annotation["segmentation"], dict) == ring
        if not ring:
            continue
        rings += 1
        mask = coco.decode(annotation["segmentation"])
        assert mask.sum() == annotation["area"]
        ground, labels = cv2.connectedComponents((mask == 0).astype(np.uint8), connectivity=4)
        assert ground == 3, "the ground outside, the ground in the hole, and the ring"
        assert 0.1 < (labels == 2).sum() / mask.sum() < 0.6
    assert rings


def test_pictures_show_the_colours_that_the_words_name(shapes_root: Path, pictures: dict[int, Picture]) -> None:
    instances = json.loads((shapes_root / "refcoco/instances.json").read_text())
    names = {i["id"]: i["file_name"] for i in instances["images"]}
    right = []
    for annotation in instances["annotations"]:
        picture = pictures[annotation["image_id"]]
        words = next(f.words for f in picture.figures if f.ann_id == annotation["id"])
        if words & PEOPLE or "plain" not in words or isinstance(annotation["segmentation"], dict):
            continue
        rgb = cv2.imread(str(shapes_root / "images/train2014" / names[annotation["image_id"]]))[:, :, ::-1]
        mask = coco.decode(coco.frPyObjects(annotation["segmentation"], picture.height, picture.width)[0])
        inner = cv2.erode(mask, np.ones((5, 5), np.uint8)) > 0
        if inner.sum() < 20:
            continue
        seen = np.median(rgb[inner], axis=0)
        hazed = {name: (1 - SPEC.haze) * np.array(rgb) + SPEC.haze * AIR for name, rgb in COLOURS.items()}
        nearest = min(hazed, key=lambda c: float(np.abs(seen - hazed[c]).sum()))
        right.append(nearest in words)
    assert len(right) > 10
    assert np.mean(right) > 0.9


def test_haze_takes_contrast_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    assert np.array_equal(hazed(image, 0.0, rng), image)
    thick = hazed(image, 0.8, rng).astype(float)
    assert np.abs(thick - (0.2 * image + 0.8 * AIR)).mean() < 2 * NOISE
    assert thick.std() == pytest.approx(0.2 * image.std(), rel=0.1)


def test_the_audit_calls_it_sound(shapes_root: Path) -> None:
    report = verify(shapes_root, PAPER_PARTITIONS, "shapes")
    assert report.ok, report.findings
    assert report.images_opened == 28
    assert [f.text for f in report.findings if f.severity == "warning"]  # google's leak, stated
    assert {f.dataset for f in report.findings} == {"refcocog-g"}


def test_truth_of_captions_is_what_each_meaning_fits() -> None:
    rng = np.random.default_rng(5)
    families = (("people", "objects"), ("people",), ("objects",))
    scenes = [sample_scene(rng, 96, 80, 1 + i % 5, families[i % 3]) for i in range(12)]
    meanings = [
        propose(s, s.things[i % len(s.things)], style, rng)
        for s in scenes
        for style in ("refcoco", "refcoco+", "refcocog")
        for i in range(4)
    ]
    assert {bool(m.zone) for m in meanings} == {bool(m.other) for m in meanings} == {True, False}
    expected = [[bool(m.fits(s)) for s in scenes] for m in meanings]
    found = truth(meanings, scenes)
    assert found.tolist() == expected
    assert 0.05 < found.mean() < 0.9
    own = found.reshape(12, 12, 12)  # scene, meaning of it, scene
    assert all(own[i, :, i].all() for i in range(12))


def test_a_batch_of_captions_is_reproducible_and_true_of_its_own_pictures() -> None:
    first, again = (captioned_batch(np.random.default_rng(2), 6, 2, 48, (1, 2), 1.6, places=True) for _ in range(2))
    assert np.array_equal(first.images, again.images)
    assert first.texts == again.texts
    assert first.images.shape == (6, 48, 48, 3)
    assert first.true.shape == (12, 6)
    assert all(first.true[row, row // 2] for row in range(12))


def test_the_command_without_options_makes_the_embedded_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ShapesSpec] = []
    monkeypatch.setattr(shapes, "make_shapes", lambda root, spec, progress, processes: made.append(spec))
    for words in (["FOLDER"], ["FOLDER", "--evaluate", "7"]):
        assert CliRunner().invoke(app, ["data", "make-shapes", str(tmp_path / words[0]), *words[1:]]).exit_code == 0
    assert made[0] == ShapesSpec()
    assert (made[1].val, made[1].testA, made[1].testB) == (7, 7, 7)
