"""Parity at full size: a ViT-B/16 at 416 px in float64. Weights and inputs are functions of a name, as in `filling`.

A full-size golden file holds nothing but numbers in float64: of each tensor, ROWS products with rows of signs.
`python -m tests.golden.full_size etris FILE.npz` writes one of ours.
"""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from barbench.methods.build import build_segmenter
from barbench.methods.released import Format, join, key_map
from barbench.methods.resolve import resolve
from barbench.models.efficient.dropout import without_dropout
from barbench.models.segmenter import Segmenter, mask_at
from barbench.models.towers.load import load_backbone
from barbench.regression.filling import uniform, weight

ROWS, SIZE, WORDS = 4, 416, 17
CASES: dict[Format, tuple[str, dict[str, Any]]] = {
    "etris": ("etris", {"bridge.dim": 64}),
    "barleria": ("barleria-released", {}),
}


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """image (1, 3, 416, 416), ids (1, 17), mask (1, 416, 416) of 0 and 1."""
    words = [49406, 9, 40000, 2368, 525, 2, 320, 1615, 17, 4160, 38, 49407]
    ids = torch.tensor([words + [0] * (WORDS - len(words))])
    image, mask = 1.7 * uniform("image", (1, 3, SIZE, SIZE)), uniform("mask", (1, SIZE, SIZE)) > 0.2
    return image.double(), ids, mask.double()


def projected(name: str, x: Tensor) -> Tensor:
    """(ROWS,): products of a tensor with signs, of the size of its root mean square."""
    signs = uniform(f"signs of {name}", (ROWS, x.numel())).sign().double()
    return (signs @ x.detach().flatten().double()) / math.sqrt(x.numel())


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


def write(file: Path, found: dict[str, Tensor]) -> None:
    """As the golden files have it."""
    values = [value.numpy() for value in found.values()]
    sizes = [len(value) for value in values]
    np.savez(file, names="\n".join(found), sizes=sizes, values=np.concatenate(values))


def read(file: Path) -> dict[str, Tensor]:
    with np.load(file) as arrays:
        parts = torch.from_numpy(arrays["values"]).split(arrays["sizes"].tolist())
        return dict(zip(str(arrays["names"]).split("\n"), parts, strict=True))


if __name__ == "__main__":
    chosen = next(case for case in CASES if case == sys.argv[1])
    write(Path(sys.argv[2]), measured(filled(chosen), chosen))
