"""Checkpoints that the authors' public code writes, read safely and mapped name by name onto a segmenter.

`barbench evaluate --weights FILE.pth --layout etris` uses it. Names here are those of the public repositories
`kkakkkka/ETRIS`, `NastrondAd/BarLeRIa` and `DerrickWang005/CRIS.pytorch`; every tensor of a file is either mapped or
named as unused. Vision encoders are ViTs or CLIP's ResNets.
"""

import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from barbench.errors import DataError, UsageError
from barbench.models.towers.base import Backbone

Format = Literal["etris", "cris", "barleria"]
KEY_PREFIXES = (
    (r"vision\.visual\.", "backbone.visual."),
    (r"text\.", "backbone."),
    (r"projector\.", "proj."),
    (r"(neck|decoder)\.", r"\1."),
)
SIDE = "side_adapter_network."
PREFIXES: dict[Format, tuple[tuple[str, str], ...]] = {
    "etris": (*KEY_PREFIXES, (r"method\.components\.0\.", "bridger.")),
    "cris": KEY_PREFIXES,
    "barleria": (
        *KEY_PREFIXES,
        (r"method\.components\.0\.flows\.vision-(\d+)-", r"backbone.visual.transformer.resblocks.\1."),
        (r"method\.components\.0\.flows\.text-(\d+)-", r"backbone.transformer.resblocks.\1."),
        (r"method\.components\.1\.to_vision\.", "intertwiner.proj."),
        (r"method\.components\.2\.out\.", "side_linear."),
        (r"method\.components\.2\.blocks\.(\d+)\.(qkv|proj)", SIDE + r"vit_model.blocks.\1.attn.\2"),
        (r"method\.components\.2\.blocks\.(\d+)\.(fc\d)", SIDE + r"vit_model.blocks.\1.mlp.\2"),
        (r"method\.components\.2\.(blocks\.|decoders\.|pos_embed)", SIDE + r"vit_model.\1"),
        (r"method\.components\.2\.patch_embed\.", SIDE + "vit_model.patch_embed.proj."),
        (r"method\.components\.2\.fusion_layers\.(\d)\.", SIDE + r"fusion_layers.layer_\1.input_proj."),
        (r"method\.components\.2\.", SIDE),
    ),
}
FLOWS = {
    "attn.mu": "flow.affine_transform.mu",
    "attn.log_sigma": "flow.affine_transform.logsigma",
    "mlp.mu": "flow2.affine_transform.mu",
    "mlp.log_sigma": "flow2.affine_transform.logsigma",
}
CHAINS = {"gamma": "weight", "beta": "bias", "lam": "scale"}
UNUSED = re.compile(r"backbone\.logit_scale$|.*\.log_jacobians\.")
"""CLIP's temperature, and a second name of each planar flow's parameters."""


MARKS: dict[Format, str] = {
    "etris": "bridger.linear1.0.weight",
    "cris": "neck.f1_v_proj.0.weight",
    "barleria": "side_linear.weight",
}


class Release(NamedTuple):
    """A public checkpoint.

    Attributes:
        format: whose code wrote it.
        method: name of the method that it holds.
        options: the method's options.
        state: tensors by their public names, in fp32.
    """

    format: Format
    method: str
    options: dict[str, Any]
    state: dict[str, Tensor]


def read_release(file: Path, format_: Format) -> Release:
    """Read a `.pth` file without running code from it; the prefix `module.` of DistributedDataParallel is dropped.

    Args:
        file: the checkpoint.
        format_: whose code wrote it.

    Returns:
        The method that the checkpoint holds, and its tensors.

    Raises:
        DataError: if the file cannot be read, or lacks what the format has.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(f"cannot read {file} as a checkpoint of tensors: {error}") from None
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{file} holds no state_dict")
    state = {str(name).removeprefix("module."): value.float() for name, value in state.items()}
    if MARKS[format_] not in state:
        raise DataError(f"{file} is no {format_} checkpoint: it has no {MARKS[format_]}")
    if format_ == "etris":
        return Release(format_, "etris", {"bridge.dim": len(state[MARKS[format_]]), "positional": "train"}, state)
    if format_ == "cris":
        return Release(format_, "cris", {}, state)
    return Release(format_, "barleria-released", {"positional": "train"}, state)


def with_head(backbone: Backbone, release: Release) -> Backbone:
    """Give a backbone a segmentation head of the kind and sizes that a checkpoint has.

    The number of attention heads does not follow from the tensors' shapes, so it stays as it is.

    Args:
        backbone: whose encoders fit the checkpoint.
        release: the checkpoint.

    Returns:
        The backbone with another `head`.

    Raises:
        DataError: if the checkpoint has no decoder, or the other kind of vision encoder.
    """
    resnet = "backbone.visual.layer1.0.conv1.weight" in release.state
    if resnet == backbone.vision.transformer:
        theirs, fitting = ("ResNet", "RN50-quickgelu or RN101-quickgelu") if resnet else ("ViT", "ViT-B-16-quickgelu")
        raise DataError(
            f"the {release.format} checkpoint has a {theirs} as its vision encoder; try --backbone {fitting}"
        )
    norm, ffn = release.state.get("decoder.norm.weight"), release.state.get("decoder.layers.0.ffn.0.weight")
    if norm is None or ffn is None:
        raise DataError(f"the {release.format} checkpoint does not fit: it has no decoder")
    layers = {name.split(".")[2] for name in release.state if name.startswith("decoder.layers.")}
    neck: Literal["cris", "etris"] = "cris" if release.format == "cris" else "etris"
    head = replace(backbone.head, width=len(norm), ffn=len(ffn), layers=len(layers), neck=neck)
    return replace(backbone, head=head)


def fill(segmenter: nn.Module, release: Release) -> None:
    """Load every tensor of a checkpoint into a segmenter, in place.

    Args:
        segmenter: of the checkpoint's method.
        release: the checkpoint.

    Raises:
        DataError: that names every tensor that is missing, left over or of another shape.
    """
    own, state, names = segmenter.state_dict(), release.state, key_map(segmenter, release.format)
    missing = [name for sources in names.values() for name in sources if name not in state]
    used = {name for sources in names.values() for name in sources}
    left = [name for name in state if name not in used and not UNUSED.match(name)]
    problems = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"left over: {', '.join(left)}"] * bool(left)
    if not problems:
        values = {name: join([state[source] for source in sources]) for name, sources in names.items()}
        shapes = [
            f"{names[name][0]} is {tuple(value.shape)}, not {tuple(own[name].shape)}"
            for name, value in values.items()
            if value.shape != own[name].shape
        ]
        problems = shapes
    if problems:
        raise DataError(f"the {release.format} checkpoint does not fit: {'; '.join(problems)}")
    segmenter.load_state_dict(values)


def key_map(segmenter: nn.Module, format_: Format) -> dict[str, tuple[str, ...]]:
    """The public names behind each tensor of a segmenter.

    Args:
        segmenter: whose state is mapped.
        format_: whose names.

    Returns:
        Own name -> public names, whose tensors `join` makes into one.
    """
    return {name: tuple(_public(name, tensor, format_)) for name, tensor in segmenter.state_dict().items()}


def join(parts: list[Tensor]) -> Tensor:
    """One tensor from the pieces that the public code keeps apart (a flow's transforms).

    Args:
        parts: tensors that differ along axis 0 only.

    Returns:
        `parts` concatenated along axis 0.
    """
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _public(name: str, tensor: Tensor, format_: Format) -> Iterator[str]:
    """The public names of one own name."""
    for own, public in PREFIXES[format_]:
        match = re.match(own, name)
        if match is None:
            continue
        head, tail = match.expand(public), name[match.end() :]
        if "flows" not in own:
            yield head + tail
        elif tail in FLOWS:
            yield head + FLOWS[tail]
        else:
            flow, part = ("flow2", "flow")[tail.startswith("attn")], CHAINS[tail.partition(".")[2]]
            yield from (f"{head}{flow}.transforms.{j}.{part}" for j in range(len(tensor)))
        return
    raise UsageError(f"{name} has no counterpart in a checkpoint of format {format_}")
