"""One seed for everything that is drawn at random during a run."""

import random

import numpy as np
import torch


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seed Python, numpy and torch on every device; processes of different ranks draw different dropout masks."""
    random.seed(seed + rank)
    np.random.seed((seed + rank) % 2**32)
    torch.manual_seed(seed + rank)


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """The order in which an epoch (counted from 0) visits the samples, a permutation of 0 to count - 1.

    A pure function, so that a resumed run needs no state.
    """
    order: list[int] = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    return order
