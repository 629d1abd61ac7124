"""Runs a segmenter on the weights and inputs of `filling` and compares it with a golden file, value by value."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from barbench.methods.build import build_segmenter
from barbench.methods.released import Format, join, key_map
from barbench.methods.resolve import resolve
from barbench.models.decoder import Decoder
from barbench.models.projector import Projector
from barbench.models.pyramid import PyramidNeck
from barbench.models.segmenter import Segmenter, segmentation_loss
from barbench.models.stream import Trace
from barbench.models.towers.load import load_backbone
from barbench.models.walk import walk
from barbench.regression.filling import weight
from barbench.spec.backbone import HeadSpec
from tests.golden import filling

HERE = Path(__file__).parent
TOLERANCE = 1e-4
CONNECT = "attnpool.connect"
"""What a ResNet has beside CLIP's weights."""


def golden(name: str) -> dict[str, Tensor]:
    """Tensors by name; gradients, `gradient/<public name>`, are kept end to end in one array."""
    with np.load(HERE / f"{name}.npz") as arrays:
        found = {key: torch.from_numpy(value) for key, value in arrays.items() if "/" in key}
        parts = torch.from_numpy(arrays["gradients"]).split(arrays["sizes"].tolist())
        names = str(arrays["names"]).split()
    return found | {f"gradient/{key}": part for key, part in zip(names, parts, strict=True)}


def filled(
    folder: Path,
    method: str,
    format_: Format,
    options: Mapping[str, Any],
    clip: Mapping[str, Any] = filling.CLIP,
    neck: str = "etris",
) -> Segmenter:
    """The method on a CLIP whose positions are resized as in the released code, all weights by name."""
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": clip}))
    (folder / "barbench.json").write_text(json.dumps({**filling.HEAD, "neck": neck}))
    first = load_backbone(str(folder), "random")
    towers = {f"visual.{n}": t for n, t in first.vision.visual.state_dict().items()} | {
        n: t for n, t in first.text.state_dict().items() if "visual" not in n
    }
    state = {n: weight(f"backbone.{n}", tuple(t.shape)).contiguous() for n, t in towers.items() if CONNECT not in n}
    save_file({**state, "logit_scale": torch.tensor(1.0)}, folder / "clip.safetensors")
    size = filling.GRID * filling.PATCH
    backbone = load_backbone(str(folder), str(folder / "clip.safetensors"), size, antialias=False)
    model = build_segmenter(resolve(method)[0], backbone, options=options)
    state = model.state_dict()
    for own, sources in key_map(model, format_).items():
        if not own.startswith(("vision.", "text.")) or CONNECT in own:
            shape = (len(state[own]) // len(sources), *state[own].shape[1:]) if state[own].ndim else ()
            state[own] = join([weight(source, shape) for source in sources])
    model.load_state_dict(state)
    return model


def measured(
    model: Segmenter, format_: Format, inputs: Callable[[], tuple[Tensor, Tensor, Tensor]] = filling.inputs
) -> dict[str, Tensor]:
    """What a golden file holds, from this segmenter: first in evaluation mode, then one training step's gradients."""
    image, ids, mask = inputs()
    model.to(image.dtype)
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        found |= _features("eval", walk(model.eval().vision, model.text, model.method, image, ids))
        found["eval/logits"] = model(image, ids).logits
    model.train()
    logits, extra = model(image, ids)
    loss = segmentation_loss(logits, mask)
    loss = loss if extra is None else loss + extra
    loss.backward()
    found |= {"train/logits": logits.detach(), "train/loss": loss.detach()}
    names = key_map(model, format_)
    for own, parameter in model.tuned_parameters().items():
        if own.endswith("k_proj.bias"):  # the softmax ignores it: its gradient is noise
            continue
        assert parameter.grad is not None, own
        for source, part in zip(names[own], parameter.grad.chunk(len(names[own])), strict=True):
            found[f"gradient/{source}"] = filling.stored(source, part).flatten()
    return {name: value.float() for name, value in found.items()}


class Head(nn.Module):
    """Neck, decoder and projector without encoders, for levels on grids of their own."""

    def __init__(self) -> None:
        super().__init__()
        spec, grid = HeadSpec(**filling.HEAD), (filling.GRID, filling.GRID)
        self.neck = PyramidNeck((filling.VISION, filling.VISION, filling.JOINT), filling.JOINT, spec.width, grid)
        self.decoder = Decoder(spec, filling.TEXT, grid, filling.CONTEXT)
        self.projector = Projector(spec.width, filling.JOINT)
        state = self.state_dict()
        self.load_state_dict({n: weight(n.replace("projector", "proj"), t.shape) for n, t in state.items()})

    def forward(self, levels: tuple[Tensor, Tensor, Tensor], words: Tensor, sentence: Tensor, ids: Tensor) -> Tensor:
        logits: Tensor = self.projector(self.decoder(self.neck(levels, sentence), words, ids == 0), sentence)
        return logits


def head_measured() -> dict[str, Tensor]:
    """What the golden file of a head alone holds."""
    head = Head().eval()
    *given, mask = filling.features()
    with torch.no_grad():
        found = {"eval/query": head.neck(given[0], given[2]), "eval/logits": head(*given)}
    logits = head.train()(*given)
    loss = segmentation_loss(logits, mask)
    loss.backward()
    found |= {"train/logits": logits.detach(), "train/loss": loss.detach()}
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        source = name.replace("projector", "proj")
        found[f"gradient/{source}"] = filling.stored(source, parameter.grad).flatten()
    return found


def _features(mode: str, trace: Trace) -> dict[str, Tensor]:
    levels = {f"{mode}/level{i}": level for i, level in enumerate(trace.levels)}
    return {**levels, f"{mode}/words": trace.words, f"{mode}/sentence": trace.sentence}


def groups(model: Segmenter, format_: Format) -> dict[str, list[str]]:
    """The gradients that belong to one tensor here: pieces that the public code keeps apart are compared together.

    The gradient of a flow's scalar beta_j is a sum over all tokens in which almost everything may cancel.
    """
    names = key_map(model, format_)
    return {own: [f"gradient/{source}" for source in names[own]] for own in model.tuned_parameters()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], together: Mapping[str, list[str]]) -> None:
    """Every value within TOLERANCE of the largest value of its tensor, and no tensor on one side only."""
    assert found.keys() == expected.keys()
    joined = {name for names in together.values() for name in names}
    assert joined <= expected.keys()
    tensors = {name: [name] for name in expected if name not in joined} | dict(together)
    errors: dict[str, float] = {}
    for name, parts in tensors.items():
        ours, theirs = (torch.cat([side[part].flatten() for part in parts]) for side in (found, expected))
        errors[name] = ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12)).item()
    worst = max(errors, key=errors.__getitem__)
    assert errors[worst] < TOLERANCE, f"{worst} differs by {errors[worst]:.1e} of its largest value"
