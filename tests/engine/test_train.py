"""The training loop: every sample once, exact resume, frozen weights untouched, a loss that is no number stops it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from barbench.datasets.samples import TrainSamples
from barbench.engine import step as stepping
from barbench.engine import training_state
from barbench.engine.checkpoint import Checkpoint, tuned_state
from barbench.engine.seeding import epoch_order, seed_everything
from barbench.engine.train import Plan, batches, fit, make_optimizer, plan
from barbench.engine.training_state import StepLog, Training
from barbench.errors import BarbenchError, Interrupted, UsageError
from barbench.models.segmenter import Segmenter
from barbench.spec.recipe import Recipe

Build, Recipes = Callable[..., Segmenter], Callable[..., Recipe]


class Cut(Exception):
    """Stands for whatever ends a process."""


def trained(
    segmenter: Segmenter,
    samples: TrainSamples,
    recipe: Recipe,
    accelerator: Accelerator,
    path: Path,
    cut_at: int = -1,
    workers: int = 0,
) -> Training:
    """Train as a new process would; raise `Cut` after `cut_at` steps of this process."""
    seen: list[StepLog] = []

    def on_step(log: StepLog) -> None:
        seen.append(log)
        if len(seen) == cut_at:
            raise Cut

    seed_everything(5)
    checkpoint = Checkpoint(path, "cell")
    return fit(
        segmenter,
        samples,
        recipe,
        accelerator,
        seed=5,
        checkpoint=checkpoint,
        checkpoint_seconds=0,
        workers=workers,
        on_step=on_step,
    )


def test_plan_cuts_an_epoch(recipe: Recipes) -> None:
    assert plan(recipe(batch=8, accumulate=2), count=45, processes=2) == Plan(steps=5, micro=2, accumulate=2)
    with pytest.raises(UsageError, match=r"batch 8 is not a multiple of accumulate x processes = 3"):
        plan(recipe(batch=8), count=45, processes=3)
    with pytest.raises(UsageError, match=r"7 usable references, fewer than a batch of 8"):
        plan(recipe(batch=8), count=7, processes=1)


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_processes_share_each_batch_of_one_order(
    processes: int, accumulate: int, train_samples: TrainSamples, recipe: Recipes
) -> None:
    """Together the processes see, step by step, what one process sees; no sample twice in an epoch."""
    chosen = recipe(batch=8, accumulate=accumulate)
    steps = len(train_samples) // 8
    shares = [batches(chosen, train_samples, 1, 3, 0, rank, processes) for rank in range(processes)]
    order = epoch_order(1, 3, len(train_samples))
    assert sorted(order) == list(range(len(train_samples)))
    for step in range(steps):
        of_step = slice(step * accumulate, (step + 1) * accumulate)
        seen = [index for share in shares for micro in share[of_step] for index in micro]
        assert sorted(seen) == sorted(order[step * 8 : (step + 1) * 8])
    assert {len(share) for share in shares} == {steps * accumulate}
    assert {len(micro) for share in shares for micro in share} == {8 // accumulate // processes}


def test_a_later_first_step_gives_the_rest_of_the_same_epoch(train_samples: TrainSamples, recipe: Recipes) -> None:
    chosen = recipe(batch=8, accumulate=2)
    whole = batches(chosen, train_samples, 0, 0, 0, 0, 1)
    assert batches(chosen, train_samples, 0, 0, 2, 0, 1) == whole[4:]
    assert batches(chosen, train_samples, 0, 1, 0, 0, 1) != whole
    assert batches(chosen, train_samples, 1, 0, 0, 0, 1) != whole


def test_optimizers_hold_exactly_what_is_tuned(build: Build, recipe: Recipes) -> None:
    segmenter = build("barleria")
    tuned = {id(p) for p in segmenter.parameters() if p.requires_grad}
    adam = make_optimizer(recipe(optimizer="adam"), segmenter)
    adamw = make_optimizer(recipe(optimizer="adamw", weight_decay=0.1), segmenter)
    assert type(adam) is torch.optim.Adam
    assert type(adamw) is torch.optim.AdamW
    for optimizer in (adam, adamw):
        held = [p for group in optimizer.param_groups for p in group["params"]]
        assert {id(p) for p in held} == tuned
        assert len(held) == len(tuned)
    for group in adamw.param_groups:
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])


@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_within_an_epoch_ends_bit_for_bit_the_same(
    workers: int, build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator, tmp_path: Path
) -> None:
    """Interrupted twice, in the first and in the second epoch, and resumed each time by a new model.

    Dropout is on, so the random generators have to be restored, too. A loader's process lives from epoch to epoch and
    changes nothing.
    """
    chosen = recipe(epochs=2, schedule="cosine", warmup=0.1, clip=1.0)
    steps = len(train_samples) // 8
    assert steps >= 3
    whole = build("barleria")
    expected = trained(whole, train_samples, chosen, accelerator, tmp_path / "whole.pt")
    path = tmp_path / "cut.pt"
    for cut_at in (3, steps):
        with pytest.raises(Cut):
            trained(build("barleria"), train_samples, chosen, accelerator, path, cut_at, workers)
    resumed = build("barleria")
    found = trained(resumed, train_samples, chosen, accelerator, path, workers=workers)
    first, second = tuned_state(whole), tuned_state(resumed)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert [(h["epoch"], h["loss"], h["lr"], h["steps"]) for h in found.history] == [
        (h["epoch"], h["loss"], h["lr"], h["steps"]) for h in expected.history
    ]
    assert len(expected.history) == 2
    assert found.curve == expected.curve is not None


def test_a_loss_curve_has_few_points_and_all_steps(
    build: Build,
    train_samples: TrainSamples,
    recipe: Recipes,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_state, "CURVE_POINTS", 3)
    logs: list[StepLog] = []
    chosen = recipe(epochs=2)
    training = fit(build("head-only"), train_samples, chosen, accelerator, seed=0, on_step=logs.append)
    total = len(logs)
    every = -(-total // 3)
    assert training.curve is not None
    assert training.curve.every == every
    assert len(training.curve.losses) == -(-total // every)
    # Each point is the mean of its steps, so that all of them together are the mean of the training.
    sizes = [min(every, total - at) for at in range(0, total, every)]
    whole = sum(size * loss for size, loss in zip(sizes, training.curve.losses, strict=True)) / total
    assert whole == pytest.approx(sum(epoch["loss"] for epoch in training.history) / 2)


def test_a_checkpoint_of_before_the_curve_was_kept_has_none(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator, tmp_path: Path
) -> None:
    chosen, path = recipe(epochs=2), tmp_path / "c.pt"
    segmenter = build("head-only")
    fit(segmenter, train_samples, recipe(epochs=1), accelerator, seed=0, checkpoint=Checkpoint(path, "cell"))
    state = torch.load(path, weights_only=True)
    for name in ("curve", "curve_sum"):
        del state["progress"][name]
    torch.save(state, path)
    training = fit(segmenter, train_samples, chosen, accelerator, seed=0, checkpoint=Checkpoint(path, "cell"))
    assert len(training.history) == 2
    assert training.curve is None


def test_a_finished_training_is_not_trained_again(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator, tmp_path: Path
) -> None:
    chosen, path = recipe(epochs=1), tmp_path / "c.pt"
    first = build("head-only")
    trained(first, train_samples, chosen, accelerator, path)
    second = build("head-only")
    again = trained(second, train_samples, chosen, accelerator, path, cut_at=1)
    assert again.images_per_second is None
    assert len(again.history) == 1
    assert all(
        torch.equal(a, b) for a, b in zip(tuned_state(first).values(), tuned_state(second).values(), strict=True)
    )


def test_only_what_is_tuned_changes(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator, tmp_path: Path
) -> None:
    segmenter = build("barleria")
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    trained(segmenter, train_samples, recipe(epochs=1), accelerator, tmp_path / "c.pt")
    frozen = [name for name, p in segmenter.named_parameters() if not p.requires_grad]
    assert len(frozen) > 100
    after = segmenter.state_dict()
    assert [name for name in frozen if not torch.equal(before[name], after[name])] == []
    unmoved = [name for name in segmenter.tuned_parameters() if torch.equal(before[name], after[name])]
    assert unmoved == []


def test_the_loss_falls(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator, tmp_path: Path
) -> None:
    result = trained(build("etris"), train_samples, recipe(epochs=4), accelerator, tmp_path / "c.pt")
    losses = [h["loss"] for h in result.history]
    assert losses[-1] < 0.9 * losses[0]
    assert [h["epoch"] for h in result.history] == [1, 2, 3, 4]
    assert result.images_per_second is not None
    assert sum(h["seconds"] for h in result.history) == pytest.approx(result.seconds, rel=0.2, abs=0.5)


def test_logs_state_the_progress_and_the_learning_rate_used(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator, tmp_path: Path
) -> None:
    chosen, logs = recipe(epochs=2, milestones=[1]), list[StepLog]()
    fit(
        build("head-only"), train_samples, chosen, accelerator, seed=0,
        checkpoint=Checkpoint(tmp_path / "c.pt", "x"), on_step=logs.append,
    )  # fmt: skip
    steps = len(train_samples) // 8
    assert [(log.epoch, log.step) for log in logs] == [(e, s) for e in (1, 2) for s in range(1, steps + 1)]
    assert [log.lr for log in logs] == [chosen.rate(step, steps) for step in range(2 * steps)]
    assert all(0 <= log.iou <= 1 for log in logs)


def gradients(segmenter: Segmenter) -> dict[str, torch.Tensor]:
    """Gradients of the tuned parameters by name."""
    return {name: p.grad.clone() for name, p in segmenter.tuned_parameters().items() if p.grad is not None}


def test_accumulated_micro_batches_equal_the_batch(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator, tmp_path: Path
) -> None:
    """Without batch norms and dropout: a batch norm sees its micro-batch alone, so that with it the two differ."""
    batch = len(train_samples) // 2 + 1  # one step an epoch
    batch -= batch % 4
    batch = batch if len(train_samples) // batch == 1 else batch + 4
    found = []
    for accumulate in (1, 4):
        segmenter = build("etris")
        for parent in list(segmenter.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.BatchNorm2d | nn.BatchNorm1d | nn.Dropout):
                    setattr(parent, name, nn.Identity())
                if isinstance(child, nn.MultiheadAttention):
                    child.dropout = 0.0
        chosen = recipe(epochs=1, batch=batch, accumulate=accumulate)
        result = trained(segmenter, train_samples, chosen, accelerator, tmp_path / f"{accumulate}.pt")
        found.append((result.history[0]["loss"], gradients(segmenter)))
    (loss, whole), (same_loss, parts) = found
    assert loss == pytest.approx(same_loss, rel=1e-5)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=2e-3, atol=1e-3 * float(value.abs().max()) + 1e-9, msg=name)


def test_a_loss_that_is_no_number_stops_with_step_and_references(
    build: Build,
    train_samples: TrainSamples,
    recipe: Recipes,
    accelerator: Accelerator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, honest = [0], stepping.training_loss

    def broken(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return honest(logits, mask) * (float("nan") if calls[0] == 3 else 1.0)

    monkeypatch.setattr(stepping, "training_loss", broken)
    third = [str(train_samples.references[i].ref_id) for i in epoch_order(5, 0, len(train_samples))[16:24]]
    with pytest.raises(BarbenchError, match=r"the loss is nan at step 3 \(epoch 1\)") as caught:
        trained(build("head-only"), train_samples, recipe(), accelerator, tmp_path / "c.pt")
    assert str(caught.value).endswith(", ".join(third))


def test_mixed_precision_trains(build: Build, train_samples: TrainSamples, recipe: Recipes, tmp_path: Path) -> None:
    AcceleratorState._reset_state()
    segmenter, half = build("snf"), Accelerator(cpu=True, mixed_precision="bf16")
    result = trained(segmenter, train_samples, recipe(epochs=1), half, tmp_path / "c.pt")
    assert result.history[0]["loss"] < 2
    assert {p.dtype for p in segmenter.tuned_parameters().values()} == {torch.float32}


def test_a_gradient_that_is_no_number_stops_before_a_weight_has_seen_it(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator, tmp_path: Path
) -> None:
    """The loss is finite; one tuned parameter's gradient is not, in step 3. The checkpoint of step 2 stays."""
    segmenter, calls, steps = build("head-only"), [0], list[dict[str, torch.Tensor]]()
    parameter = next(iter(segmenter.tuned_parameters().values()))

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        steps.append({name: p.detach().clone() for name, p in segmenter.tuned_parameters().items()})
        return gradient * (float("inf") if calls[0] == 3 else 1.0)

    parameter.register_hook(spoil)
    says = (
        r"the norm of the gradient is (inf|nan) at step 3 \(epoch 1\), the checkpoint of step 2 is kept; references \d+"
    )
    with pytest.raises(BarbenchError, match=says):
        trained(segmenter, train_samples, recipe(), accelerator, tmp_path / "c.pt")
    assert all(torch.equal(p, steps[2][name]) for name, p in segmenter.tuned_parameters().items())
    assert torch.load(tmp_path / "c.pt", weights_only=True)["progress"]["step"] == 2


def test_asked_to_stop_it_keeps_a_checkpoint_of_that_very_step(
    build: Build, train_samples: TrainSamples, recipe: Recipes, accelerator: Accelerator, tmp_path: Path
) -> None:
    asked = iter([False, False, True])
    checkpoint = Checkpoint(tmp_path / "c.pt", "cell")
    with pytest.raises(Interrupted, match=r"stopped after step 3 \(epoch 1\), with a checkpoint"):
        fit(
            build("head-only"), train_samples, recipe(), accelerator, seed=5, checkpoint=checkpoint,
            checkpoint_seconds=1e9, stop=lambda: next(asked),
        )  # fmt: skip
    assert torch.load(tmp_path / "c.pt", weights_only=True)["progress"]["step"] == 3
