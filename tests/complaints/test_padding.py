"""Texts without a word, of two tokens, and as long as the context (complaint 8; pytorch#103963, pytorch#109517)."""

import pytest
import torch
from torch import Tensor

from barbench.models.segmenter import Segmenter
from tests.complaints.complaints import each_method, judge
from tests.complaints.steps import without_chance
from tests.contract.test_contract import BATCH_DEPENDENT, built, loss_of, perturb
from tests.models.small import CONTEXT, VOCABULARY, inputs

START, END = VOCABULARY - 2, VOCABULARY - 1
TEXTS = {"padding alone": 0, "start and end alone": 2, "the whole context": CONTEXT, "some words": 5}
"""Kind of text -> its tokens, start and end included."""


def texts() -> Tensor:
    """One of each kind, (4, CONTEXT)."""
    ids = torch.zeros(len(TEXTS), CONTEXT, dtype=torch.long)
    for row, count in zip(ids, TEXTS.values(), strict=True):
        if count:
            row[:count] = torch.arange(1, count + 1)
            row[0] = START
            row[count - 1] = END
    return ids


def logits_and_gradient(segmenter: Segmenter, image: Tensor, ids: Tensor, row: int) -> tuple[Tensor, Tensor]:
    """One sample's logits, and the gradient of their mean square, all tuned parameters in one vector."""
    logits = segmenter(image, ids).logits[row]
    tuned = list(segmenter.tuned_parameters().values())
    gradients = torch.autograd.grad(logits.square().mean(), tuned, allow_unused=True, materialize_grads=True)
    return logits.detach(), torch.cat([g.flatten() for g in gradients])


def unlike_alone(segmenter: Segmenter, image: Tensor, ids: Tensor) -> list[str]:
    """The kinds of text whose logits or gradient differ between a batch of all and a batch of one.

    In float64: in fp32, rounding moves a few activations across the bend of a ReLU.
    """
    segmenter.double()
    image = image.double()
    found = []
    for row, kind in enumerate(TEXTS):
        together = logits_and_gradient(segmenter, image, ids, row)
        alone = logits_and_gradient(segmenter, image[row : row + 1], ids[row : row + 1], 0)
        for what, ours, theirs in zip(("logits", "gradient"), together, alone, strict=True):
            far = float((ours - theirs).norm() / theirs.norm())
            if not far < 1e-6:  # NaN too
                found.append(f"{what} of {kind}: {far:.1e}")
    return found


@pytest.mark.complaint(8)
@each_method("barleria")
def test_padding_changes_nothing_and_is_finite(name: str) -> None:
    """First as in training, with dropout; then without it, each text among others and alone."""
    segmenter = built(name, "quickgelu").train()
    image, ids = inputs(batch=len(TEXTS))[0], texts()
    loss_of(segmenter, image, ids).backward()
    tuned = segmenter.tuned_parameters().items()
    assert [label for label, p in tuned if p.grad is None or not p.grad.isfinite().all()] == []
    with torch.no_grad():
        perturb(segmenter)
    judge(8, name, unlike_alone(without_chance(segmenter), image, ids))


@pytest.mark.complaint(8)
@pytest.mark.slow
@pytest.mark.parametrize("name", BATCH_DEPENDENT)
def test_with_the_option_that_makes_samples_independent_it_applies(name: str) -> None:
    segmenter = built(name, "quickgelu", **BATCH_DEPENDENT[name]).train()
    assert unlike_alone(without_chance(segmenter), inputs(batch=len(TEXTS))[0], texts()) == []
