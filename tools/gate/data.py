"""The section `data`: the letterbox and its inverse on pictures of several shapes, and training samples."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from barbench.datasets.pixels.letterbox import Letterbox
from barbench.progress import OnProgress
from barbench.regression.fixtures import IMAGE_SIZE, shapes, training
from barbench.regression.rules import Value, Values
from tools.gate.sketch import sketch

PICTURES = ((120, 200), (200, 120), (97, 131), (64, 64))  # rows, columns: smaller and larger than the square
BLOCK = 5  # side of the patches of one value, in pixels: edges everywhere, so that a shift shows
ITEMS = 16


def data(progress: OnProgress) -> Values:
    """`letterbox/<what> <columns>x<rows>` and `training/<what>`."""
    found = letterboxed()
    samples = training(shapes())
    samples.set_epoch(1)
    batch = samples[list(range(ITEMS))]
    found["training/references"] = len(samples)
    found["training/images"] = sketch(batch.images)
    found["training/masks"] = sketch(batch.masks)
    found["training/words"] = sketch(batch.ids)
    progress(1, 1)
    return found


def letterboxed() -> dict[str, Value]:
    """Pictures and masks to the square, probabilities back from it."""
    letterbox = Letterbox(IMAGE_SIZE)
    probability = _blocks(IMAGE_SIZE, IMAGE_SIZE).astype(np.float32)
    found: dict[str, Value] = {}
    for rows, columns in PICTURES:
        size = f"{columns}x{rows}"
        channels = [255 * _blocks(rows, columns, seed) for seed in (1, 2, 3)]
        picture = np.stack(channels, -1).astype(np.uint8)
        mask = (_blocks(rows, columns) > 0.6).astype(np.uint8)
        restored = letterbox.restore(probability, rows, columns)
        found[f"letterbox/image {size}"] = sketch(letterbox.image(picture))
        found[f"letterbox/mask {size}"] = sketch(letterbox.mask(mask))
        found[f"letterbox/restored {size}"] = sketch(torch.from_numpy(restored))
    return found


def _blocks(rows: int, columns: int, seed: int = 0) -> NDArray[np.float64]:
    """Float (rows, columns) in 0..1, in blocks with one value each."""
    blocks = (math.ceil(rows / BLOCK), math.ceil(columns / BLOCK))
    values = np.random.default_rng(seed).random(blocks)
    return values.repeat(BLOCK, 0).repeat(BLOCK, 1)[:rows, :columns]
