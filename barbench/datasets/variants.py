"""Other words for the expressions of a split, to see what a model takes from them: `barbench evaluate --text`.

    shuffle            the words in another order
    drop-descriptors   without words of attribute and place, and without a relation and what follows it
    category           the name of the object's category alone
    empty              no words
    same-category      the sentence of another object of that category in the image
    other-image        a sentence about a category that the image does not have

The object that counts stays the one that the original expression means. Every draw comes from a hash of the sentence's
id, so that neither order nor processes matter. RefCOCOg-Adv has shuffled and shortened expressions; InstanceBench has
category names and other objects of one category; absent categories are R-RefCOCO's.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from barbench.datasets.expression_kinds import without_descriptors
from barbench.datasets.references import NO_CATEGORY, ReferData, Reference, ReferSplit, Sentence
from barbench.errors import UnknownName

VARIANTS: Final = ("shuffle", "drop-descriptors", "category", "empty", "same-category", "other-image")
TRIES: Final = 100


class Varied(NamedTuple):
    """The same references and sentence ids in other words, and the ids of the sentences whose words are others."""

    split: ReferSplit
    changed: frozenset[int]


class Draw:
    """Whole numbers from a hash of what is drawn for: the n-th draw is that of a counter n."""

    def __init__(self, variant: str, seed: int, sent_id: int) -> None:
        self._key = f"barbench-text-v1:{variant}:{seed}:{sent_id}"
        self._count = 0

    def below(self, limit: int) -> int:
        """0 ... limit - 1, uniform to 2^-190."""
        digest = hashlib.sha256(f"{self._key}:{self._count}".encode()).digest()
        self._count += 1
        return int.from_bytes(digest) % limit


Change = Callable[[Reference, Sentence, Draw], str | None]
"""The other words of a sentence; None where the variant has none for it."""


def vary(split: ReferSplit, variant: str, seed: int = 0) -> Varied:
    """Give the expressions of an evaluation split other words, by a variant of VARIANTS; sentence ids stay. UnknownName
    for another variant."""
    change = _change_of(variant, split)
    changed: set[int] = set()
    others: dict[int, Reference] = {}
    for reference in split.references:
        sentences = []
        for sentence in reference.sentences:
            text = change(reference, sentence, Draw(variant, seed, sentence.sent_id))
            if text is None or text == sentence.text:
                sentences.append(sentence)
                continue
            changed.add(sentence.sent_id)
            sentences.append(Sentence(sentence.sent_id, text))
        others[reference.ref_id] = reference._replace(sentences=tuple(sentences))
    # The data hold the same references as the split, and those of other splits as they were.
    everywhere = [others.get(reference.ref_id, reference) for reference in split.data.references]
    data = replace(split.data, references=tuple(everywhere))
    references = tuple(others[reference.ref_id] for reference in split.references)
    return Varied(ReferSplit(split.name, references, data), frozenset(changed))


def _shuffled(reference: Reference, sentence: Sentence, draw: Draw) -> str | None:
    """Fisher and Yates' shuffle, drawn again until the order is another one."""
    words = sentence.text.split()
    if len(set(words)) < 2:
        return None
    for _ in range(TRIES):
        order = list(words)
        # From the end, each word changes places with one up to it.
        for last in range(len(order) - 1, 0, -1):
            other = draw.below(last + 1)
            order[last], order[other] = order[other], order[last]
        if order != words:
            return " ".join(order)
    return None


# Variants that look at the reference alone.
_OF_ONE: Final[dict[str, Change]] = {
    "shuffle": _shuffled,
    "drop-descriptors": lambda reference, sentence, _: without_descriptors(sentence.text) or reference.category,
    "category": lambda reference, sentence, _: reference.category,
    "empty": lambda reference, sentence, _: "",
}


def _change_of(variant: str, split: ReferSplit) -> Change:
    if variant == "same-category":
        return _same_category(split)
    if variant == "other-image":
        return _other_image(split)
    if variant not in _OF_ONE:
        raise UnknownName("text variant", variant, VARIANTS)
    return _OF_ONE[variant]


def _same_category(split: ReferSplit) -> Change:
    """Sentences of references to another object of the same category and image, of any split of the data."""
    groups: dict[tuple[int, str], list[Reference]] = defaultdict(list)
    for reference in sorted(split.data.references, key=lambda r: r.ref_id):
        groups[reference.image_id, reference.category].append(reference)

    def change(reference: Reference, sentence: Sentence, draw: Draw) -> str | None:
        group = groups[reference.image_id, reference.category]
        others = [other for other in group if other.ann_id != reference.ann_id]
        return _drawn(others, draw)

    return change


def _other_image(split: ReferSplit) -> Change:
    """Sentences of references of the split whose category no annotation of the image has."""
    present = _categories(split.data)
    by_category: dict[str, list[Reference]] = defaultdict(list)
    for reference in sorted(split.references, key=lambda r: r.ref_id):
        by_category[reference.category].append(reference)
    names = sorted(by_category)

    def change(reference: Reference, sentence: Sentence, draw: Draw) -> str | None:
        # References, each as likely as another, whatever its category.
        donors: list[Reference] = []
        for name in names:
            if name not in present[reference.image_id]:
                donors += by_category[name]
        return _drawn(donors, draw)

    return change


def _drawn(donors: Sequence[Reference], draw: Draw) -> str | None:
    """A sentence of one of some references; None without any that has words."""
    texts = []
    for donor in donors:
        spoken = [sentence.text for sentence in donor.sentences if sentence.text]
        if spoken:
            texts.append(spoken)
    if not texts:
        return None
    # First a reference, then one of its sentences: a reference with many is no likelier.
    chosen = texts[draw.below(len(texts))]
    return chosen[draw.below(len(chosen))]


def _categories(data: ReferData) -> dict[int, set[str]]:
    """The names of the categories of each image that is evaluated, of all of its annotations, referred to or not."""
    found: dict[int, set[str]] = defaultdict(set)
    for reference in data.references:
        found[reference.image_id].update(reference.category.split(", "))
    for image_id, ann_ids in data.everything.items():
        for ann_id in ann_ids:
            number = data.annotations[ann_id].category_id
            if number != NO_CATEGORY:
                found[image_id].add(data.categories.get(number, str(number)))
    return found
