"""What a qualitative panel shows: an expression's image, its object, and what each method found (as Fig. 3 to 7)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


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


class Found(NamedTuple):
    """What `barbench predict` found for one expression in a photo: `mask` (H, W); `coverage`, the mask's share of the
    photo; `score`, the mean probability inside the mask, None where it is empty; `peak`, the highest probability;
    `cut`: the expression was longer than the context.
    """

    expression: str
    mask: Mask
    coverage: float
    score: float | None
    peak: float
    cut: bool
