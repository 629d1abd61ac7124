"""One seed for everything that is drawn at random during a run."""

import random

import numpy as np
import torch


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seed Python, numpy and torch on every device.

    Args:
        seed: of the run.
        rank: of the process, so that processes draw different dropout masks.
    """
    random.seed(seed + rank)
    np.random.seed((seed + rank) % 2**32)
    torch.manual_seed(seed + rank)


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """The order in which an epoch visits the samples: a pure function, so that a resumed run needs no state.

    Args:
        seed: of the run.
        epoch: counted from 0.
        count: number of samples.

    Returns:
        A permutation of 0 to count - 1.
    """
    order: list[int] = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    return order
