"""Other words for expressions: what changes, what stays, and that each sentence's words depend on its id alone."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferSplit
from barbench.datasets.variants import VARIANTS, Draw, vary
from barbench.errors import UnknownName
from barbench.paper.partitions import PAPER_PARTITIONS


@pytest.fixture(scope="module")
def split(shapes_root: Path) -> ReferSplit:
    return read_refer(shapes_root, PAPER_PARTITIONS.get("refcoco")).split("val")


def texts(split: ReferSplit) -> dict[int, str]:
    return {s.sent_id: s.text for r in split.references for s in r.sentences}


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_words_change_and_the_changed_are_named(variant: str, split: ReferSplit) -> None:
    varied = vary(split, variant)
    before = texts(split)
    after = texts(varied.split)
    assert list(after) == list(before)
    assert varied.changed == {sent_id for sent_id, text in after.items() if text != before[sent_id]}
    assert varied.changed
    for old, new in zip(split.references, varied.split.references, strict=True):
        assert new._replace(sentences=()) == old._replace(sentences=())
        assert new in varied.split.data.references
    others = [r for r in split.data.references if r.split != "val"]
    assert [r for r in varied.split.data.references if r.split != "val"] == others
    assert texts(split) == before


@pytest.mark.parametrize("variant", ["shuffle", "same-category", "other-image"])
def test_words_depend_on_the_sentence_and_the_seed_alone(variant: str, split: ReferSplit) -> None:
    whole = texts(vary(split, variant).split)
    references = list(split.references)
    random.Random(1).shuffle(references)
    again = texts(vary(replace(split, references=tuple(references)), variant).split)
    assert again == whole
    assert texts(vary(split, variant, seed=1).split) != whole


def test_shuffled_words_are_the_same_words_in_another_order(split: ReferSplit) -> None:
    before = texts(split)
    for sent_id, text in texts(vary(split, "shuffle").split).items():
        assert sorted(text.split()) == sorted(before[sent_id].split())
        assert (text != before[sent_id]) == (len(set(before[sent_id].split())) > 1)


def test_names_alone_and_nothing(split: ReferSplit) -> None:
    named = vary(split, "category").split
    assert all(s.text == r.category for r in named.references for s in r.sentences)
    assert set(texts(vary(split, "empty").split).values()) == {""}
    short = texts(vary(split, "drop-descriptors").split)
    assert all(short.values())


def test_the_other_object_has_the_category_and_is_another(split: ReferSplit) -> None:
    said = {s.text: set() for r in split.data.references for s in r.sentences}
    for r in split.data.references:
        for s in r.sentences:
            said[s.text].add((r.image_id, r.category, r.ann_id))
    varied = vary(split, "same-category")
    for r in varied.split.references:
        rivals = {o.ann_id for o in split.data.references if (o.image_id, o.category) == (r.image_id, r.category)}
        for s in r.sentences:
            if s.sent_id in varied.changed:
                assert any((r.image_id, r.category, other) in said[s.text] for other in rivals - {r.ann_id})
            else:
                assert s.text in {old.text for o in split.references if o.ref_id == r.ref_id for old in o.sentences}


def test_an_absent_category_is_in_no_annotation_of_the_image(split: ReferSplit, shapes_root: Path) -> None:
    raw = json.loads((shapes_root / "refcoco/instances.json").read_text())
    names = {c["id"]: c["name"] for c in raw["categories"]}
    present = {(a["image_id"], names[a["category_id"]]) for a in raw["annotations"]}
    categories: dict[str, set[str]] = {}
    for r in split.references:
        for s in r.sentences:
            categories.setdefault(s.text, set()).add(r.category)
    varied = vary(split, "other-image")
    for r in varied.split.references:
        for s in r.sentences:
            if s.sent_id in varied.changed:
                assert any((r.image_id, name) not in present for name in categories[s.text])


def test_draws_are_uniform_and_repeat() -> None:
    counts = [0] * 5
    for sent_id in range(2_000):
        counts[Draw("shuffle", 0, sent_id).below(5)] += 1
    assert max(counts) - min(counts) < 110  # six standard deviations of a difference are 170
    one, two = Draw("shuffle", 0, 7), Draw("shuffle", 0, 7)
    assert [one.below(100) for _ in range(20)] == [two.below(100) for _ in range(20)]


def test_another_variant_is_refused(split: ReferSplit) -> None:
    with pytest.raises(UnknownName, match=r"text variant 'shufle'\. Did you mean shuffle"):
        vary(split, "shufle")
