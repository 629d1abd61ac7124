"""Which expressions are worth looking at, from the IoU that each method reached: for `barbench panels --pick`."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

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
