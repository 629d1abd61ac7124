"""Sparse masks over the encoders' parameters, against dense training with masked gradients and Fisher sums by hand."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from barbench.errors import BarbenchError, UsageError
from barbench.methods.build import build_segmenter
from barbench.methods.mask import Mask
from barbench.methods.resolve import resolve
from barbench.models.segmenter import Segmenter, training_loss
from tests.models.small import inputs, small

TOTAL = sum(p.numel() for tower in (small().vision, small().text) for p in tower.parameters())


def built(name: str, **options: object) -> Segmenter:
    return build_segmenter(resolve(name)[0], small(), seed=0, options=options)


def mask_of(model: Segmenter) -> Mask:
    (mask,) = model.method.components  # type: ignore[union-attr, misc]
    assert isinstance(mask, Mask)
    return mask


def loss_of(model: Segmenter, seed: int, batch: int = 2) -> Tensor:
    image, ids = inputs(batch=batch, seed=seed)
    return training_loss(model(image, ids), (image.mean(1) > 0).float())


def encoders(model: Segmenter) -> list[Tensor]:
    return [p for tower in (model.vision, model.text) for p in tower.parameters()]


# Adam's usual eps would make full steps of the keys' biases, whose gradients are rounding noise. At a higher rate of
# SGD the loss rises, and two trainings that differ by rounding are 1e-3 apart after four steps.
OPTIMISERS = [partial(torch.optim.Adam, lr=1e-3, eps=1e-3), partial(torch.optim.SGD, lr=1e-3, momentum=0.9)]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_training_is_dense_training_with_a_masked_gradient(optimiser: Callable[..., torch.optim.Optimizer]) -> None:
    """The same numbers move, by the same steps, and no others do."""
    sparse, dense = built("random-mask", **{"mask.share": 0.02}).train(), built("full").train()
    mask = mask_of(sparse)
    chosen = torch.zeros(TOTAL, dtype=torch.bool)
    chosen[mask.index] = True
    start = torch.cat([p.detach().flatten() for p in encoders(dense)])
    steps = [optimiser(model.tuned_parameters().values()) for model in (sparse, dense)]
    for seed in range(4):
        for model, step in zip((sparse, dense), steps, strict=True):
            torch.manual_seed(seed)  # dropout
            step.zero_grad()
            loss_of(model, seed).backward()
            if model is dense:
                gradients = torch.cat([p.grad.flatten() for p in encoders(dense)]) * chosen  # type: ignore[union-attr]
                for p, part in zip(encoders(dense), gradients.split([p.numel() for p in encoders(dense)]), strict=True):
                    p.grad = part.view_as(p)
            step.step()
    moved = torch.cat([p.detach().flatten() for p in encoders(dense)]) - start
    assert torch.equal(moved != 0, chosen & (moved != 0))
    assert (moved != 0).sum() > 0.5 * chosen.sum()
    torch.testing.assert_close(mask.delta.detach(), moved[chosen], rtol=1e-3, atol=1e-7)
    given = mask.weights()
    for name, p in dense.named_parameters():
        if name in given:
            torch.testing.assert_close(given[name].detach(), p.detach(), rtol=1e-5, atol=1e-6)


def test_the_fisher_mask_holds_the_largest_mean_squared_gradients() -> None:
    model, dense = built("fish", **{"mask.count": 500, "mask.samples": 4}).eval(), built("full").eval()

    def losses(count: int) -> Iterator[Tensor]:
        return (loss_of(model, seed, batch=1) for seed in range(count))

    mask = mask_of(model)
    mask.calibrate(losses)
    fisher = np.zeros(TOTAL)
    for seed in range(4):
        dense.zero_grad()
        loss_of(dense, seed, batch=1).backward()
        one = [np.zeros(p.numel()) if p.grad is None else p.grad.numpy().ravel() for p in encoders(dense)]
        fisher += np.concatenate(one).astype(np.float64) ** 2 / 4
    expected = set(np.argsort(fisher)[-500:].tolist())
    assert len(expected & set(mask.index.tolist())) >= 498  # the last ones differ by rounding
    assert torch.equal(mask.index, mask.index.sort().values)
    assert not mask.delta.any()
    assert not any(p.requires_grad for p in encoders(model))
    assert loss_of(model.train(), 0).requires_grad


def test_a_fisher_information_that_is_no_number_is_refused() -> None:
    mask = mask_of(model := built("fish"))
    with pytest.raises(BarbenchError, match="not finite"):
        mask.calibrate(lambda count: iter([loss_of(model, 0) * torch.nan]))


def test_random_masks_are_drawn_from_all_numbers_by_the_seed() -> None:
    spec = resolve("random-mask")[0]
    drawn = [
        mask_of(build_segmenter(spec, small(), seed=seed, options={"mask.share": 0.25})).index for seed in (0, 0, 1)
    ]
    assert len(drawn[0].unique()) == len(drawn[0]) == TOTAL // 4
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    tenths = torch.histc(drawn[0].double(), 10, 0, TOTAL)
    assert (tenths / (TOTAL / 40) - 1).abs().max() < 0.1


def test_a_mask_of_one_tower_and_of_every_number() -> None:
    model = built("random-mask", **{"mask.towers": "text", "mask.share": 1.0})
    text = sum(p.numel() for p in model.text.parameters())
    assert model.ledger()["adapter"] == text == len(mask_of(model).index)
    assert {name.partition(".")[0] for name in mask_of(model).weights()} == {"text"}


def test_beside_dora_the_norms_are_those_of_the_tuned_weights() -> None:
    """A component that looks weights up in the towers sees the tuned ones."""
    model = built("dora+random-mask", **{"mask.share": 1.0}).eval()
    with torch.no_grad():
        mask = model.method.components[1]
        assert isinstance(mask, Mask)
        mask.delta.normal_(std=0.05)
        given = mask.weights()
        found = model(*inputs()).logits
        plain = built("dora").eval()
        for name, p in plain.named_parameters():
            if name in given:
                p.copy_(given[name])
        torch.testing.assert_close(found, plain(*inputs()).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"mask.share": 0.0}, {"mask.count": 0}, {"mask.samples": 0}, {"mask.towers": []}, {"mask.count": 10**9}]
)
def test_masks_of_nothing_or_of_more_than_there_is_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="mask"):
        built("fish", **options)


def test_a_record_says_how_many_samples_the_mask_was_chosen_by() -> None:
    (fish,) = resolve("fish")
    made = fish.create({"mask.samples": 8})
    assert made.notes(100) == ["the mask was chosen by 8 training samples behind a head of one epoch"]
    assert made.notes(5) == [
        "the mask was chosen by 5 training samples behind a head of one epoch, all that there are: mask.samples is 8"
    ]
    assert resolve("random-mask")[0].create().notes(5) == []
    assert resolve("barleria")[0].create().notes(5) == []
