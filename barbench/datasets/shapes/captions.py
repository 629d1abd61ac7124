"""Pairs of pictures and captions for contrastive pretraining, with the truth of every caption in every picture. Used by
`tools/pretrain_tiny.py`."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from barbench.datasets.shapes.language import FAMILY_WORDS, Meaning, propose, spoken
from barbench.datasets.shapes.scene import FAMILIES, Rng, Scene, draw, sample_scene


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
        rng: draws everything.
        images: number of pictures.
        captions: number of captions per picture.
        size: side of a picture in pixels.
        things: fewest and most figures per picture.
        scale: factor on the benchmark's sizes of figures.
        places: whether captions may say where a figure is, which a crop of a picture does not show.

    Returns:
        Pictures, captions and their truth.
    """
    families = (("people", "objects"), ("people",), ("objects",))
    scenes = [
        sample_scene(rng, size, size, int(rng.integers(things[0], things[1] + 1)), families[i % 3], scale)
        for i in range(images)
    ]
    styles = ("refcoco+", "refcoco+", "refcoco", "refcocog") if places else ("refcoco+",)
    meanings = [
        propose(s, s.things[i], styles[rng.integers(len(styles))], rng)
        for s in scenes
        for i in rng.integers(len(s.things), size=captions)
    ]
    texts = [spoken(m, rng) for m in meanings]
    return CaptionedBatch(np.stack([draw(s, rng) for s in scenes]), texts, truth(meanings, scenes))


def truth(meanings: list[Meaning], scenes: list[Scene]) -> NDArray[np.bool_]:
    """Whether some figure of a scene fits a meaning. Looks are compared for all at once; places only where looks fit.

    Args:
        meanings: N of them.
        scenes: B of them.

    Returns:
        Boolean (N, B).
    """
    flat = [(i, t) for i, s in enumerate(scenes) for t in s.things]
    owner = np.array([i for i, _ in flat])
    fields = {f: np.array([getattr(t, f) for _, t in flat]) for f in ("kind", "family", "colour", "texture", "size")}
    families = {FAMILY_WORDS[f]: f for f in FAMILIES}
    true = np.zeros((len(meanings), len(scenes)), bool)
    for row, meaning in zip(true, meanings, strict=True):
        looks = meaning.looks
        fits = fields["family"] == families[looks.noun] if looks.noun in families else fields["kind"] == looks.noun
        for f in ("colour", "texture", "size"):
            if getattr(looks, f):
                fits = fits & (fields[f] == getattr(looks, f))
        placed = meaning.zone or meaning.other
        for i in np.unique(owner[fits]):
            row[i] = bool(meaning.fits(scenes[i])) if placed else True
    return true
