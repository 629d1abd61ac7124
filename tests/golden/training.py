"""A training that is a function of names: batches for 40 steps, and the schedule, for the public code and ours alike.

A file of `training/` holds what the public code's own segmenter, parameter groups, optimizer and scheduler gave, in
float64 on one thread, its weights being `start(public name, shape)` at first, without dropout: of each step the whole
loss, and the part of it that the logits have.
"""

import torch
from torch import Tensor

from barbench.regression.filling import uniform, weight
from tests.golden.filling import GRID, LENGTH, PATCH, VOCABULARY

STEPS, BATCH, PER_EPOCH, MILESTONE = 40, 4, 10, 3
"""The learning rate is a tenth after MILESTONE epochs of PER_EPOCH steps."""

LR = 1e-4
SIZE = GRID * PATCH


def start(name: str, shape: tuple[int, ...]) -> Tensor:
    """A weight at the start; small in the side network, whose reconstruction loss would else be millions."""
    value = weight(name, shape)
    return 0.2 * value if name.startswith("side_adapter_network.") and len(shape) > 1 else value


def batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
    """The images (4, 3, 64, 64) and masks (4, 64, 64) in float64 and the ids (4, LENGTH) of a step, from 0."""
    image = 1.7 * uniform(f"image {step}", (BATCH, 3, SIZE, SIZE))
    mask = uniform(f"mask {step}", (BATCH, SIZE, SIZE)) > 0.2
    drawn = uniform(f"words {step}", (BATCH, LENGTH))
    ids = torch.zeros(BATCH, LENGTH, dtype=torch.long)
    for row in range(BATCH):
        words = 3 + (step + 2 * row) % (LENGTH - 3)
        ids[row, 0] = VOCABULARY - 2
        ids[row, 1:words] = 1 + ((drawn[row, 1:words] + 1) / 2 * (VOCABULARY - 3)).long()
        ids[row, words] = VOCABULARY - 1
    return image.double(), ids, mask.double()
