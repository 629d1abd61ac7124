"""Qualitative panels (as Fig. 3 to 7): what a panel shows, and which expressions are worth showing. `barbench
panels`."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from barbench.metrics import Floats
from barbench.results.record import Cell

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class Scenes(NamedTuple):
    """What the data say of the expressions of one evaluation split.

    Attributes:
        sentences: text and the object's category, by sentence id.
        file_names: of the images, by image id.
        image: from an image id to uint8 (H, W, 3) RGB.
        mask: from an annotation id to boolean (H, W).
    """

    sentences: Mapping[int, tuple[str, str]]
    file_names: Mapping[int, str]
    image: Callable[[int], Image]
    mask: Callable[[int], Mask]


FindScenes = Callable[[Cell], Mapping[str, Scenes]]
"""From a cell to the scenes of its evaluation splits; empty where its data are not there."""


class Overlay(NamedTuple):
    """The mask of one method.

    Attributes:
        mask: boolean (H, W).
        iou: with the object, a fraction.
    """

    title: str
    mask: Mask
    iou: float
    record: str = ""


class Panel(NamedTuple):
    """One expression, with the masks of several methods.

    Attributes:
        pick: why it was chosen.
        image: uint8 (H, W, 3) RGB, in the image's own pixels.
        truth: boolean (H, W).
        column: the split, as (dataset, column) of the paper's tables.
    """

    name: str
    title: str
    expression: str
    pick: str
    image: Image
    truth: Mask
    overlays: tuple[Overlay, ...]
    column: tuple[str, str] = ("", "")
    sentence: int = 0


PICKS: Final[Mapping[str, Callable[[Floats], Floats]]] = {
    "disagree": lambda iou: np.asarray(iou.max(0) - iou.min(0)),
    "fail": lambda iou: -iou.max(0),
    "succeed": lambda iou: np.asarray(iou.min(0)),
    "random": lambda iou: np.zeros(iou.shape[1]),
}
"""From IoU (methods, expressions) to how much each expression is wanted, (expressions,)."""


def pick(how: str, iou: Floats, images: NDArray[Any], count: int) -> list[int]:
    """Positions of up to `count` expressions to show, most wanted first, at most one per image; equals are drawn.

    Args:
        how: a key of PICKS.
        iou: (methods, expressions), fractions.
        images: (expressions,), the image of each.
    """
    wanted = PICKS[how](iou)
    tie_break = np.random.default_rng(0).permutation(len(wanted))
    most_wanted_first = np.lexsort((tie_break, -wanted))
    by_image: dict[int, int] = {}
    for position in most_wanted_first:
        by_image.setdefault(int(images[position]), int(position))
        if len(by_image) == count:
            break
    return list(by_image.values())


class Found(NamedTuple):
    """What `barbench predict` finds for one expression in a photo.

    Attributes:
        mask: boolean (H, W).
        coverage: the mask's share of the photo's pixels.
        score: mean probability inside the mask; None if the mask is empty.
        peak: highest probability.
        cut: whether the expression was longer than the context.
    """

    expression: str
    mask: Mask
    coverage: float
    score: float | None
    peak: float
    cut: bool
