"""A whole training against the public code: the losses of 40 steps, in float64, with its optimizer and schedule."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from barbench.engine.train import make_optimizer
from barbench.methods.build import build_segmenter
from barbench.methods.released import Format, join, key_map
from barbench.methods.resolve import resolve
from barbench.models.efficient.dropout import without_dropout
from barbench.models.segmenter import Segmenter, mask_at
from barbench.models.towers.load import load_backbone
from barbench.spec.recipe import parse_recipe
from tests.golden import filling
from tests.golden.training import BATCH, LR, MILESTONE, PER_EPOCH, SIZE, STEPS, batch, start

HERE = Path(__file__).parent / "training"
TOLERANCE = 1e-11
CASES: dict[Format, tuple[str, dict[str, Any]]] = {
    "etris": ("etris", {"bridge.dim": 64}),
    "barleria": ("barleria-released", {}),
}
RECIPE = parse_recipe(
    "released",
    {
        "epochs": STEPS // PER_EPOCH,
        "batch": BATCH,
        "optimizer": "adam",
        "lr": LR,
        "adapter_lr": 1.0,
        "schedule": "step",
        "milestones": [MILESTONE],
        "weight_decay": 0.0,
    },
)


def filled(folder: Path, case: Format) -> Segmenter:
    """The method on the small CLIP at its own image size, all weights by their public names."""
    method, options = CASES[case]
    vision = {**filling.CLIP["vision_cfg"], "image_size": SIZE}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**filling.CLIP, "vision_cfg": vision}}))
    (folder / "barbench.json").write_text(json.dumps(filling.HEAD))
    backbone = load_backbone(str(folder), "random", SIZE)
    model = build_segmenter(resolve(method)[0], backbone, options={**options, "positional": "train"})
    state = model.state_dict()
    for own, sources in key_map(model, case).items():
        shape = (len(state[own]) // len(sources), *state[own].shape[1:]) if state[own].ndim else ()
        state[own] = join([start(source, shape) for source in sources])
    model.load_state_dict(state)
    without_dropout(model.double())
    return model


def losses(model: Segmenter) -> tuple[Tensor, Tensor]:
    """Of each step the whole loss and the logits' part, in float64, where a training computes them in fp32."""
    optimizer = make_optimizer(RECIPE, model)
    model.train()
    whole = []
    logits = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RECIPE.rate(step, PER_EPOCH) * group["factor"]
        image, ids, mask = batch(step)
        output = model(image, ids)
        segmentation = F.binary_cross_entropy_with_logits(output.logits, mask_at(mask, output.logits).double())
        loss = segmentation if output.loss_extra is None else segmentation + output.loss_extra
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        whole.append(loss.item())
        logits.append(segmentation.item())
    return torch.tensor(whole, dtype=torch.float64), torch.tensor(logits, dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_training_has_the_losses_of_the_released_code(case: Format, tmp_path: Path) -> None:
    stored = json.loads((HERE / f"{case}.json").read_text())
    assert stored["source"].startswith("https://github.com/")
    assert len(stored["commit"]) == 40
    found = losses(filled(tmp_path, case))
    for name, values in zip(("losses", "of the logits"), found, strict=True):
        expected = torch.tensor(stored[name], dtype=torch.float64)
        assert len(expected) == STEPS
        # What is trained moves the loss far more than the tolerance.
        assert expected.std() > 0.1
        worst = ((values - expected) / expected).abs().max().item()
        print(f"{case}: {name} differ by {worst:.1e}")
        assert worst < TOLERANCE, f"{name} differ by {worst:.1e}"
