"""A step on a GPU, tried on a CPU: numbers are read one step late, fp16 skips steps, no weight sees a bad number."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from barbench.datasets.samples import TrainBatch, TrainSamples
from barbench.engine import train, training_state
from barbench.engine.checkpoint import tuned_state
from barbench.engine.seeding import seed_everything
from barbench.engine.train import fit
from barbench.engine.training_state import StepLog
from barbench.errors import BarbenchError, Interrupted
from barbench.models.segmenter import Segmenter
from barbench.spec.backbone import CLIP_NORMALIZATION, Normalization
from barbench.spec.recipe import Recipe

Build, Recipes = Callable[..., Segmenter], Callable[..., Recipe]


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host runs a step ahead of what it reads, as on CUDA."""
    for module in (training_state, train):
        monkeypatch.setattr(module, "steps_in_flight", lambda device: 1)


def fitted(build: Build, samples: TrainSamples, recipe: Recipe, accelerator: Accelerator, **kwargs: Any) -> Any:
    """A trained head, its training, and its logs."""
    seed_everything(5)
    segmenter, logs = build("head-only"), list[StepLog]()
    training = fit(segmenter, samples, recipe, accelerator, seed=5, on_step=logs.append, **kwargs)
    return tuned_state(segmenter), training, logs


def test_reading_late_changes_no_number(
    build: Build,
    train_samples: TrainSamples,
    recipe: Recipes,
    accelerator: Accelerator,
    request: pytest.FixtureRequest,
) -> None:
    chosen = recipe(epochs=2, clip=1.0)
    weights, training, logs = fitted(build, train_samples, chosen, accelerator)
    request.getfixturevalue("late")
    same, again, later = fitted(build, train_samples, chosen, accelerator)
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert logs == later
    assert [h["loss"] for h in training.history] == [h["loss"] for h in again.history]


def spoiled(segmenter: Segmenter, at: int, by: float) -> list[dict[str, torch.Tensor]]:
    """The tuned weights before each step; step `at` has a gradient that is `by`."""
    before: list[dict[str, torch.Tensor]] = []

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        before.append({name: p.detach().clone() for name, p in segmenter.tuned_parameters().items()})
        return gradient * by if len(before) == at else gradient

    next(iter(segmenter.tuned_parameters().values())).register_hook(spoil)
    return before


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_a_bad_step_and_the_one_launched_after_it_change_no_weight(
    kind: str, build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator
) -> None:
    segmenter = build("head-only")
    before = spoiled(segmenter, 2, torch.nan)
    with pytest.raises(BarbenchError, match=r"the norm of the gradient is nan at step 2 \(epoch 1\), before the first"):
        fit(segmenter, train_samples, recipe(optimizer=kind), accelerator, seed=5)
    assert len(before) == 3, "the third step was launched before the second was read"
    assert all(torch.equal(p, before[1][name]) for name, p in segmenter.tuned_parameters().items())
    assert not all(torch.equal(before[0][name], before[1][name]) for name in before[0])


@pytest.mark.usefixtures("late")
def test_a_stop_is_told_with_every_step_read(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator
) -> None:
    logs, asked = list[StepLog](), iter([False, True])
    with pytest.raises(Interrupted, match="stopped after step 2"):
        fit(build("head-only"), train_samples, recipe(), accelerator, seed=5, on_step=logs.append,
            stop=lambda: next(asked))  # fmt: skip
    assert [log.step for log in logs] == [1, 2]


def with_scaler(accelerator: Accelerator, start: float) -> Accelerator:
    """fp16 as on a GPU, which accelerate allows nowhere else: its forward pass is in fp16 here, too."""
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=start)
    accelerator.native_amp = True
    accelerator.state._mixed_precision = "fp16"
    return accelerator


@pytest.mark.parametrize("mode", ["at once", "late"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_an_overflow_skips_one_step_and_is_counted(
    clip: float | None,
    mode: str,
    build: Build,
    train_samples: TrainSamples,
    recipe: Recipes,
    accelerator: Accelerator,
    request: pytest.FixtureRequest,
) -> None:
    if mode == "late":
        request.getfixturevalue("late")
    chosen, scaled = recipe(clip=clip, epochs=1), with_scaler(accelerator, 2.0**8)
    segmenter, logs = build("head-only"), list[StepLog]()
    before = spoiled(segmenter, 2, torch.inf)
    training = fit(segmenter, train_samples, chosen, scaled, seed=5, on_step=logs.append)
    assert training.skipped == 1
    assert [log.skipped for log in logs][:3] == [0, 1, 1]
    assert all(torch.equal(before[1][name], before[2][name]) for name in before[1])
    assert not all(torch.equal(before[2][name], before[3][name]) for name in before[2])
    assert scaled.scaler is not None
    assert scaled.scaler.get_scale() == 2.0**7


def test_the_norm_is_the_gradients_own_and_not_the_scaled_ones(
    build: Build,
    train_samples: TrainSamples,
    recipe: Recipes,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    norms: list[list[float]] = []
    judge = training_state.TrainingState._check

    def keep(self: training_state.TrainingState, launched: Any, loss: float, norm: float) -> None:
        norms[-1].append(norm)
        judge(self, launched, loss, norm)

    monkeypatch.setattr(training_state.TrainingState, "_check", keep)
    for start in (1.0, 2.0**8):
        norms.append([])
        fitted(build, train_samples, recipe(), with_scaler(accelerator, start), max_steps=1)
    assert norms[0] == pytest.approx(norms[1], rel=0.02)


def test_a_training_in_which_all_steps_overflow_fails(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator
) -> None:
    segmenter, chosen = build("head-only"), recipe(epochs=1)
    next(iter(segmenter.tuned_parameters().values())).register_hook(lambda g: g * torch.inf)
    with pytest.raises(BarbenchError, match=r"\d+ steps in a row overflowed in fp16 \(try --precision bf16\)"):
        fit(segmenter, train_samples, chosen, with_scaler(accelerator, 2.0**16), seed=5)


def test_a_loss_that_is_no_number_is_no_overflow(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator
) -> None:
    """Its gradient may be finite, as that of an infinite logit is; the weights stay all the same."""
    segmenter = build("head-only")
    before = tuned_state(segmenter)
    segmenter.projector.register_forward_hook(lambda module, args, out: out + torch.full_like(out, torch.inf))
    with pytest.raises(BarbenchError, match=r"the loss is (nan|inf) at step 1"):
        fit(segmenter, train_samples, recipe(), with_scaler(accelerator, 4.0), seed=5)
    assert all(torch.equal(p, before[name]) for name, p in segmenter.tuned_parameters().items())


def test_the_backward_pass_runs_outside_autocast(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator
) -> None:
    segmenter, seen = build("head-only"), list[tuple[str, bool]]()
    accelerator.autocast = lambda: torch.autocast("cpu", torch.bfloat16)
    last = segmenter.projector.vis[4]
    assert isinstance(last, nn.Conv2d)
    segmenter.projector.register_forward_hook(
        lambda module, args, out: seen.append(("forward", torch.is_autocast_enabled("cpu")))
    )
    last.weight.register_hook(lambda gradient: seen.append(("backward", torch.is_autocast_enabled("cpu"))))
    fit(segmenter, train_samples, recipe(), accelerator, seed=0, max_steps=1)
    assert seen == [("forward", True), ("backward", False)]


class Slow(TrainSamples):
    """Samples that take their time."""

    def __getitem__(self, indices: list[int]) -> TrainBatch:
        time.sleep(0.2)
        return super().__getitem__(indices)


def test_the_wait_for_the_loader_is_told_apart_from_the_steps(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator
) -> None:
    train_samples.__class__ = Slow
    _, training, _ = fitted(build, train_samples, recipe(), accelerator, max_steps=3)
    assert training.wait_seconds >= 0.2
    assert 8 / training.images_per_second + training.wait_seconds <= training.seconds


@pytest.mark.parametrize("chosen", [CLIP_NORMALIZATION, Normalization((0.1, 0.5, 0.9), (0.5, 0.25, 0.125))])
def test_a_step_normalizes_pixels_as_the_backbone_says(
    chosen: Normalization, build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator
) -> None:
    segmenter, seen = build("head-only"), list[torch.Tensor]()
    segmenter.normalization = chosen
    segmenter.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    fit(segmenter, train_samples, recipe(), accelerator, seed=5, max_steps=1)
    mean, std = (torch.tensor(values)[:, None, None] for values in (chosen.mean, chosen.std))
    values = (seen[0] * std + mean) * 255
    torch.testing.assert_close(values, values.round().clamp(0, 255), atol=1e-3, rtol=0)
