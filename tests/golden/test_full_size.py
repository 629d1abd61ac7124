"""Parity with the public code at full size, in float64: logits, loss and the gradient of every tuned parameter."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from barbench.methods.build import build_segmenter
from barbench.methods.released import Format, join, key_map
from barbench.methods.resolve import resolve
from barbench.models.efficient.dropout import without_dropout
from barbench.models.segmenter import Segmenter, mask_at
from barbench.models.towers.load import load_backbone
from barbench.regression.filling import weight
from tests.golden.full_size import SIZE, inputs, projected

HERE = Path(__file__).parent / "full-size"
TOLERANCE, LEAST = 1e-10, 1e-6  # gradients far below the others, which are some 1e-2, are sums that cancel
CASES: dict[Format, tuple[str, dict[str, Any]]] = {
    "etris": ("etris", {"bridge.dim": 64}),
    "barleria": ("barleria-released", {}),
}


def filled(case: Format) -> Segmenter:
    """The method on a ViT-B/16, all weights by their public names."""
    method, options = CASES[case]
    backbone = load_backbone("ViT-B-16-quickgelu", "random", SIZE)
    model = build_segmenter(resolve(method)[0], backbone, options={**options, "positional": "train"})
    state = model.state_dict()
    for own, sources in key_map(model, case).items():
        shape = (len(state[own]) // len(sources), *state[own].shape[1:]) if state[own].ndim else ()
        state[own] = join([weight(source, shape) for source in sources])
    model.load_state_dict(state)
    without_dropout(model.double())
    return model


def measured(model: Segmenter, case: Format) -> dict[str, Tensor]:
    """What the golden file holds, from this segmenter."""
    image, ids, mask = inputs()
    output = model.train()(image, ids)
    # The loss of a training is computed in fp32; here in float64.
    loss = F.binary_cross_entropy_with_logits(output.logits, mask_at(mask, output.logits).double())
    loss = loss if output.loss_extra is None else loss + output.loss_extra
    loss.backward()
    found = {"train/logits": projected("train/logits", output.logits), "train/loss": loss.detach().reshape(1)}
    names = key_map(model, case)
    for own, parameter in model.tuned_parameters().items():
        assert parameter.grad is not None, own
        for source, part in zip(names[own], parameter.grad.chunk(len(names[own])), strict=True):
            if not source.endswith("k_proj.bias"):  # the softmax ignores it: its gradient is noise
                found[f"gradient/{source}"] = projected(source, part)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_equals_the_released_code_at_full_size(case: Format) -> None:
    with np.load(HERE / f"{case}.npz") as arrays:
        parts = torch.from_numpy(arrays["values"]).split(arrays["sizes"].tolist())
        expected = dict(zip(str(arrays["names"]).split("\n"), parts, strict=True))
    found = measured(filled(case), case)
    assert found.keys() == expected.keys()
    errors = {n: ((found[n] - e).abs().max() / e.abs().max().clamp_min(LEAST)).item() for n, e in expected.items()}
    worst = max(errors, key=errors.__getitem__)
    assert errors[worst] < TOLERANCE, f"{worst} differs by {errors[worst]:.1e}"
