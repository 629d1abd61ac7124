"""Steps of small models through the engine's own optimizer and stepper."""

import torch
from accelerate import Accelerator
from torch import nn

from barbench.datasets.samples import TrainBatch
from barbench.engine.step import Stepper
from barbench.engine.train import make_optimizer
from barbench.models.efficient.dropout import without_dropout
from barbench.models.segmenter import Segmenter
from barbench.spec.recipe import parse_recipe
from tests.models.small import SIZE, inputs

# Adam without weight decay: a tensor without a gradient stays where it is.
RECIPE = parse_recipe("test", {"epochs": 1, "batch": 4, "lr": 1e-2, "optimizer": "adam", "weight_decay": 0.0})


def train_batch(seed: int, batch: int = 3, empty: bool = False) -> TrainBatch:
    """Random pixels and texts; masks (B, S, S) of a half plane each, or without a pixel."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)
    masks = torch.zeros(batch, SIZE, SIZE)
    if not empty:
        masks[:, : SIZE // 2] = 1
    return TrainBatch(images, inputs(batch, seed)[1], masks, list(range(batch)))


def make_stepper(segmenter: Segmenter, accelerator: Accelerator) -> Stepper:
    """As `fit` makes it."""
    model, optimizer = accelerator.prepare(segmenter, make_optimizer(RECIPE, segmenter))
    return Stepper(model, optimizer, accelerator, RECIPE.clip, segmenter.normalization)


def without_chance(segmenter: Segmenter) -> Segmenter:
    """In place: no dropout, and batch norms by their running statistics, so that samples do not meet."""

    def quiet(module: nn.Module) -> None:
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.train = lambda mode=True: module  # type: ignore[method-assign, misc]
            module.training = False

    without_dropout(segmenter)
    segmenter.apply(quiet)
    return segmenter
