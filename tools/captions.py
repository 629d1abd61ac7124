"""Pairs of pictures and captions for contrastive pretraining, with the truth of every caption in every picture. Used by
`tools/pretrain_tiny.py`."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from barbench.datasets.shapes.language import FAMILY_WORDS, Meaning, propose, spoken
from barbench.datasets.shapes.scene import FAMILIES, Rng, Scene, Thing, draw, sample_scene


class CaptionedBatch(NamedTuple):
    """B pictures, their captions, and which caption is true in which picture.

    Attributes:
        images: uint8 (B, S, S, 3) RGB.
        texts: N = B * `captions` captions, in the order of their pictures.
        true: boolean (N, B): the caption is true in the picture.
    """

    images: NDArray[np.uint8]
    texts: list[str]
    true: NDArray[np.bool_]


def captioned_batch(
    rng: Rng, images: int, captions: int, size: int, things: tuple[int, int], scale: float, places: bool
) -> CaptionedBatch:
    """Draw square pictures and propose captions.

    Larger figures in smaller pictures cost a fraction of a full picture and look the same to a patch, so pretraining
    begins with them.

    Args:
        size: side of a picture in pixels.
        things: fewest and most figures per picture.
        scale: factor on the benchmark's sizes of figures.
        places: whether captions may say where a figure is, which a crop of a picture does not show.
    """
    # Pictures of all families, in turn.
    families = (("people", "objects"), ("people",), ("objects",))
    fewest, most = things
    scenes = []
    for number in range(images):
        count = int(rng.integers(fewest, most + 1))
        scenes.append(sample_scene(rng, size, size, count, families[number % 3], scale))
    # What may be said of a figure depends on whether places count.
    styles = ("refcoco+", "refcoco+", "refcoco", "refcocog") if places else ("refcoco+",)
    meanings = []
    for scene in scenes:
        for index in rng.integers(len(scene.things), size=captions):
            style = styles[rng.integers(len(styles))]
            meanings.append(propose(scene, scene.things[index], style, rng))
    texts = [spoken(meaning, rng) for meaning in meanings]
    pictures = np.stack([draw(scene, rng) for scene in scenes])
    return CaptionedBatch(pictures, texts, truth(meanings, scenes))


def truth(meanings: list[Meaning], scenes: list[Scene]) -> NDArray[np.bool_]:
    """Whether some figure of each of B scenes fits each of N meanings, boolean (N, B). Looks are compared for all at
    once; places only where looks fit."""
    # The figures of all scenes as arrays: the scene of each, and each field of its looks.
    figures: list[Thing] = []
    for scene in scenes:
        figures += scene.things
    owner = np.repeat(np.arange(len(scenes)), [len(scene.things) for scene in scenes])
    fields = {}
    for name in ("kind", "family", "colour", "texture", "size"):
        fields[name] = np.array([getattr(thing, name) for thing in figures])
    families = {FAMILY_WORDS[family]: family for family in FAMILIES}
    true = np.zeros((len(meanings), len(scenes)), bool)
    for row, meaning in zip(true, meanings, strict=True):
        looks = meaning.looks
        if looks.noun in families:
            fits = fields["family"] == families[looks.noun]
        else:
            fits = fields["kind"] == looks.noun
        for name in ("colour", "texture", "size"):
            wanted = getattr(looks, name)
            if wanted:
                fits = fits & (fields[name] == wanted)
        # Where it also says a place, each scene is asked.
        placed = meaning.zone or meaning.other
        for number in np.unique(owner[fits]):
            row[number] = not placed or bool(meaning.fits(scenes[number]))
    return true
