"""Qualitative panels (as Fig. 3 to 7): what one shows, and which expressions are worth showing. `barbench panels`."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Overlay(NamedTuple):
    """A method's `mask` (H, W), and its `iou` with the object."""

    title: str
    mask: Mask
    iou: float


class Panel(NamedTuple):
    """`image` (H, W, 3) RGB and `truth` (H, W) in the image's own pixels; `pick`: why it was chosen."""

    name: str
    title: str
    expression: str
    pick: str
    image: Image
    truth: Mask
    overlays: tuple[Overlay, ...]


# From IoU (methods, expressions) to how much each expression is wanted.
PICKS: Final[Mapping[str, Callable[[Floats], Floats]]] = {
    "disagree": lambda iou: np.asarray(iou.max(0) - iou.min(0)),
    "fail": lambda iou: -iou.max(0),
    "succeed": lambda iou: np.asarray(iou.min(0)),
    "random": lambda iou: np.zeros(iou.shape[1]),
}


def pick(how: str, iou: Floats, images: NDArray[Any], count: int, seed: int = 0) -> list[int]:
    """Places of up to `count` expressions, most wanted first, at most one an image; equals are drawn from `seed`.

    how: a key of PICKS. iou: (methods, expressions). images: (expressions,), the image of each.
    """
    wanted = PICKS[how](iou)
    chance = np.random.default_rng(seed).permutation(len(wanted))
    chosen: dict[int, int] = {}
    for place in np.lexsort((chance, -wanted)):
        chosen.setdefault(int(images[place]), int(place))
        if len(chosen) == count:
            break
    return list(chosen.values())


class Found(NamedTuple):
    """What `barbench predict` found for one expression in a photo.

    mask: (H, W). coverage: the mask's share of the photo. score: the mean probability inside the mask, None where it is
    empty. peak: the highest probability. cut: whether the expression was longer than the context.
    """

    expression: str
    mask: Mask
    coverage: float
    score: float | None
    peak: float
    cut: bool
