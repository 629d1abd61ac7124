"""A method that looks at data before it trains: the head's epoch, the losses it is shown, what is left afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from barbench.datasets.pixels.letterbox import normalized
from barbench.datasets.samples import TrainSamples
from barbench.engine import train
from barbench.engine.calibrate import calibrate
from barbench.engine.checkpoint import Checkpoint, tuned_state
from barbench.engine.seeding import epoch_order, seed_everything
from barbench.engine.train import fit
from barbench.errors import Interrupted
from barbench.methods.mask import Mask
from barbench.models.hooks import Losses
from barbench.models.segmenter import Segmenter, training_loss
from barbench.spec.backbone import CLIP_NORMALIZATION
from barbench.spec.recipe import Recipe

Build, Recipes = Callable[..., Segmenter], Callable[..., Recipe]


def fisher_by_hand(build: Build, samples: TrainSamples, recipe: Recipe, accelerator: Accelerator) -> torch.Tensor:
    """By the methods that others know: head-only for an epoch, then whole gradients of `full` behind that head."""
    head, dense = build("head-only"), build("full")
    seed_everything(5)
    fit(head, samples, recipe, accelerator, seed=5, max_steps=len(samples) // recipe.batch)
    dense.load_state_dict(head.state_dict())
    dense.eval()
    encoders = [p for tower in (dense.vision, dense.text) for p in tower.parameters()]
    total = torch.zeros(sum(p.numel() for p in encoders))
    samples.set_epoch(0)
    for index in epoch_order(5, 0, len(samples))[:6]:
        image, ids, mask, _ = samples[[index]]
        dense.zero_grad()
        training_loss(dense(normalized(image, CLIP_NORMALIZATION), ids), mask).backward()
        total += (
            torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in encoders]) ** 2
        )
    return total


def mask_of(segmenter: Segmenter) -> Mask:
    (mask,) = segmenter.method.components  # type: ignore[union-attr, misc]
    mask.samples = 6
    return mask  # type: ignore[no-any-return]


def test_the_mask_is_that_of_the_fisher_information_behind_a_trained_head(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator
) -> None:
    chosen = recipe(epochs=2)
    model = build("fish")
    mask = mask_of(model)
    drawn = mask.index.clone()
    seed_everything(5)
    fit(model, train_samples, chosen, accelerator, seed=5, max_steps=1)
    expected = fisher_by_hand(build, train_samples, chosen, accelerator).topk(len(mask.index)).indices
    assert len(set(mask.index.tolist()) & set(expected.tolist())) > 0.99 * len(expected)
    assert len(set(drawn.tolist()) & set(expected.tolist())) < 0.1 * len(expected)


def test_its_progress_is_told(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator
) -> None:
    """Every step of the head's epoch, then every sample."""
    model, chosen, told = build("fish"), recipe(epochs=1), []
    mask_of(model)
    fit(model, train_samples, chosen, accelerator, seed=5, max_steps=1, on_phase=lambda *phase: told.append(phase))
    steps = len(train_samples) // chosen.batch
    assert told == [
        *(("calibrating: an epoch of the head alone", i / steps) for i in range(1, steps + 1)),
        *(("calibrating: the method", i / 6) for i in range(1, 7)),
    ]


def test_nothing_is_left_of_the_heads_epoch(
    build: Build,
    train_samples: TrainSamples,
    recipe: Recipes,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But the places of the mask."""
    model, states = build("fish"), []
    mask_of(model)

    def spied(segmenter: Segmenter, *rest: Any) -> None:
        states.append(tuned_state(segmenter))
        calibrate(segmenter, *rest)
        states.append(tuned_state(segmenter))

    monkeypatch.setattr(train, "calibrate", spied)
    fit(model, train_samples, recipe(epochs=1), accelerator, seed=5, max_steps=1)
    before, after = states
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"method.components.0.index"}
    assert model.training


def test_a_resumed_training_keeps_its_mask(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator, tmp_path: Path
) -> None:
    """Bit for bit that of an uninterrupted one, from another random mask to begin with."""
    chosen = recipe(epochs=1)

    def run(path: Path, seed: int, stop_after: int) -> Segmenter:
        model, steps = build("fish", seed), []
        mask_of(model)
        seed_everything(5)
        kept = {"checkpoint": Checkpoint(path, "cell"), "checkpoint_seconds": 0.0, "on_step": steps.append}
        fit(model, train_samples, chosen, accelerator, seed=5, stop=lambda: len(steps) == stop_after, **kept)  # type: ignore[arg-type]
        return model

    whole = tuned_state(run(tmp_path / "whole", 0, -1))
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", 0, 2)
    resumed = tuned_state(run(tmp_path / "cut", 7, -1))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_it_can_be_stopped(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator
) -> None:
    model = build("fish")
    with pytest.raises(Interrupted, match="before the first step"):
        fit(model, train_samples, recipe(epochs=1), accelerator, seed=5, stop=lambda: True)


def test_other_methods_see_no_data_first(
    build: Build,
    train_samples: TrainSamples,
    recipe: Recipes,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: Mask, losses: Losses) -> None:
        raise AssertionError

    monkeypatch.setattr(Mask, "calibrate", refuse)
    fit(build("random-mask"), train_samples, recipe(epochs=1), accelerator, seed=5, max_steps=1)
    with pytest.raises(AssertionError):
        fit(build("fish"), train_samples, recipe(epochs=1), accelerator, seed=5, max_steps=1)
