"""The section `models`: logits, loss and gradients of every method with fixed weights, and the first losses of a
training.

A sharper test than a trained score: what a correct change does not affect stays within rounding.
"""

import torch
from torch import Tensor

from barbench.datasets.samples import TrainSamples
from barbench.engine import profile
from barbench.methods.base import Method
from barbench.methods.catalog import MethodSpec
from barbench.models.segmenter import Segmenter
from barbench.progress import OnProgress
from barbench.regression.fixtures import (
    DATASET,
    IMAGE_SIZE,
    PAPER,
    filled,
    segmenter,
    shapes,
    train,
    training,
)
from barbench.regression.rules import Value, Values
from barbench.spec.recipe import Recipe
from tools.gate.fixtures import ALL, backward
from tools.gate.sketch import sketch

BATCH = 4
STEPS = 5
FIRST = Recipe(
    name="first steps", epochs=1, batch=BATCH, optimizer="adamw", lr=2e-3, adapter_lr=0.25, weight_decay=0.01,
    schedule="cosine", warmup=0.2, clip=1.0,
)  # fmt: skip


def models(progress: OnProgress) -> Values:
    """`<method>/logits`, `<method>/loss`, `<method>/gradient of <part>`, and `<method>/first losses` of the paper's
    methods."""
    found: dict[str, Value] = {}
    samples = training(shapes(), BATCH * STEPS)
    for number, spec in enumerate(ALL):
        values = _fixed(filled(spec))
        if spec in PAPER:
            values["first losses"] = _first_losses(spec, samples)
        for name, value in values.items():
            found[f"{spec.name}/{name}"] = value
        progress(number + 1, len(ALL))
    return found


def _fixed(model: Segmenter) -> dict[str, Value]:
    image, ids, mask = profile.example_batch(model, IMAGE_SIZE, DATASET.context_length, BATCH)
    with torch.no_grad():
        logits = model.eval()(image, ids).logits
    torch.manual_seed(0)  # dropout draws
    loss = backward(model, image, ids, mask)
    found: dict[str, Value] = {"logits": sketch(logits), "loss": loss}
    for part, gradients in _gradients(model).items():
        found[f"gradient of {part}"] = sketch(*gradients)
    return found


def _gradients(model: Segmenter) -> dict[str, list[Tensor]]:
    """Gradients of the head, each component and each encoder, as far as they are tuned."""
    assert isinstance(model.method, Method)
    labels = model.method.composition()
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in sorted(model.tuned_parameters().items()):
        owner, _, rest = name.partition(".")
        # A component's own parameters go under its label.
        if owner == "method":
            part = labels[int(rest.split(".")[1])]
        elif owner in ("neck", "decoder", "projector"):
            part = "head"
        else:
            part = owner
        gradient = parameter.grad
        if gradient is None:  # not reached
            gradient = torch.zeros_like(parameter)
        parts.setdefault(part, []).append(gradient)
    return parts


def _first_losses(spec: MethodSpec, samples: TrainSamples) -> list[float]:
    """Mean loss after each of STEPS steps of a training as a cell has it."""
    losses: list[float] = []
    train(segmenter(spec), samples, FIRST, seed=0, on_step=lambda log: losses.append(log.loss))
    return losses
