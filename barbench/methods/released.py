"""Checkpoints that the authors' public code writes, read safely and mapped name by name onto a segmenter.

`barbench evaluate --weights FILE.pth --codebase etris` uses it. Names here are those of the public repositories
`kkakkkka/ETRIS`, `NastrondAd/BarLeRIa`, `DerrickWang005/CRIS.pytorch` and `jiaqihuang01/DETRIS`; every tensor of a file
is either mapped or named as unused. Vision encoders are ViTs, CLIP's ResNets or, of DETRIS, DINOv2's.
"""

import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from barbench.errors import DataError, UsageError
from barbench.models.towers.base import Backbone
from barbench.models.towers.dinov2 import DinoVision
from barbench.models.towers.key_maps import dino_names
from barbench.spec.backbone import NeckName

Format = Literal["etris", "cris", "barleria", "detris"]
KEY_PREFIXES = (
    (r"vision\.visual\.", "backbone.visual."),
    (r"text\.", "backbone."),
    (r"projector\.", "proj."),
    (r"(neck|decoder)\.", r"\1."),
)
SIDE = "side_adapter_network."
DINO = "dinov2."
DETRIS_ADAPTER = r"method\.components\.\d+\."
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
    "detris": (
        (r"vision\.trunk\.", DINO),
        (r"text\.", "txt_backbone."),
        *KEY_PREFIXES[2:],
        (DETRIS_ADAPTER + r"aligners\.vision-(\d+)-mlp\.", DINO + r"blocks.\1.adapter."),
        (DETRIS_ADAPTER + r"adapters\.text-(\d+)-mlp\.", r"txt_backbone.transformer.resblocks.\1.adapter."),
    ),
}
DETRIS_PARTS = {
    "down": "D_fc1",
    "up": "D_fc2",
    "dense.first.0": "dense_branch1.conv",
    "dense.first.1": "dense_branch1.bn",
    "dense.second.0": "dense_branch2.0.conv",
    "dense.second.1": "dense_branch2.0.bn",
    "dense.second.3": "dense_branch2.1.conv",
    "dense.second.4": "dense_branch2.1.bn",
    "dense.third.0": "dense_branch3.0.conv",
    "dense.third.1": "dense_branch3.0.bn",
    "dense.third.3": "dense_branch3.1.conv",
    "dense.third.4": "dense_branch3.1.bn",
    "cross.attention": "cross.multihead_attn",
    "cross.image": "cross.image_proj",
    "cross.text": "cross.text_proj",
    "cross.back": "cross.back_proj",
}
"""Modules of an aligner or a text adapter of DETRIS."""
FLOWS = {
    "attn.mu": "flow.affine_transform.mu",
    "attn.log_sigma": "flow.affine_transform.logsigma",
    "mlp.mu": "flow2.affine_transform.mu",
    "mlp.log_sigma": "flow2.affine_transform.logsigma",
}
CHAINS = {"gamma": "weight", "beta": "bias", "lam": "scale"}
UNUSED = re.compile(r"(txt_)?backbone\.logit_scale$|.*\.log_jacobians\.")
"""CLIP's temperature, and a second name of each planar flow's parameters; DINOv2's mask token is dropped on reading."""

MARKS: dict[Format, str] = {
    "etris": "bridger.linear1.0.weight",
    "cris": "neck.f1_v_proj.0.weight",
    "barleria": "side_linear.weight",
    "detris": "dinov2.register_tokens",
}
"""A tensor that every checkpoint of a format has."""


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
    # The tensors, without what is wrapped around them.
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(f"cannot read {file} as a checkpoint of tensors: {error}") from None
    found = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise DataError(f"{file} holds no state_dict")
    state: dict[str, Tensor] = {}
    for name, value in found.items():
        state[str(name).removeprefix("module.")] = value.float()
    # The code that wrote it, by a name that only its checkpoints have.
    mark = MARKS[format_]
    if mark not in state:
        raise DataError(f"{file} is no {format_} checkpoint: it has no {mark}")
    if format_ == "etris":
        return Release(format_, "etris", {"bridge.dim": len(state[mark]), "positional": "train"}, state)
    if format_ == "cris":
        return Release(format_, "cris", {}, state)
    if format_ == "detris":
        return _detris(file, state)
    return Release(format_, "barleria-released", {"positional": "train"}, state)


def _detris(file: Path, state: dict[str, Tensor]) -> Release:
    """What a checkpoint of DETRIS holds: sizes and places from its tensors, the rest as its code has it for 12 and for
    24 blocks."""
    # The vision tower under timm's names, as in every file of DINOv2.
    tower = {name.removeprefix(DINO): value for name, value in state.items() if name.startswith(DINO)}
    named = dino_names(tower)
    if named is None:
        raise DataError(f"the detris checkpoint {file} does not fit: missing: dinov2.cls_token")
    state = {name: value for name, value in state.items() if not name.startswith(DINO)}
    state |= {f"{DINO}{name}": value for name, value in named.items()}

    # Which blocks have an aligner or a text adapter, and how wide these are.
    places: dict[str, list[int]] = {DINO: [], "txt_backbone.": []}
    sizes: dict[str, int] = {}
    blocks = set()
    for name, value in state.items():
        found = re.fullmatch(r"(dinov2\.|txt_backbone\.)(?:transformer\.res)?blocks\.(\d+)\.(.+)", name)
        if found is None:
            continue
        tower_name, number, rest = found.groups()
        if tower_name == DINO:
            blocks.add(int(number))
        if rest == "adapter.D_fc1.weight":
            places[tower_name].append(int(number))
            sizes[tower_name] = len(value)
        elif rest == "adapter.cross.image_proj.weight":
            sizes["embed"] = len(value)
    if len(sizes) < 3:
        raise DataError(f"the detris checkpoint {file} does not fit: it lacks aligners or text adapters")
    depth = len(blocks)
    options = {
        "dinov2.positions": "detris",
        "dinov2.levels": [depth // 3, depth * 2 // 3],
        "detris.channels": sizes[DINO],
        "detris.text_channels": sizes["txt_backbone."],
        "detris.embed": sizes["embed"],
        "detris.at": sorted(places[DINO]),
        "detris.text_at": sorted(places["txt_backbone."]),
    }
    return Release("detris", "detris", options, state)


def with_head(backbone: Backbone, release: Release) -> Backbone:
    """Give a backbone a segmentation head of the kind and sizes that a checkpoint has.

    The number of attention heads does not follow from the tensors' shapes, so it stays as it is.

    Args:
        backbone: without weights of the checkpoint yet.
        release: the checkpoint.

    Returns:
        The same towers with the sizes of the checkpoint's head.

    Raises:
        DataError: if the checkpoint has no decoder, or the other kind of vision encoder.
    """
    if release.format == "detris":
        _check_dino(backbone, release)
    # The vision encoder must be of the same kind.
    resnet = "backbone.visual.layer1.0.conv1.weight" in release.state
    if resnet == backbone.vision.transformer:
        theirs = "ViT"
        fitting = "ViT-B-16-quickgelu"
        if resnet:
            theirs = "ResNet"
            fitting = "RN50-quickgelu or RN101-quickgelu"
        raise DataError(
            f"the {release.format} checkpoint has a {theirs} as its vision encoder; try --backbone {fitting}"
        )
    # The sizes of the head are those of its tensors.
    norm = release.state.get("decoder.norm.weight")
    ffn = release.state.get("decoder.layers.0.ffn.0.weight")
    if norm is None or ffn is None:
        raise DataError(f"the {release.format} checkpoint does not fit: it has no decoder")
    layers = {name.split(".")[2] for name in release.state if name.startswith("decoder.layers.")}
    neck: NeckName = "etris"
    if release.format in ("cris", "detris"):
        neck = release.format
    head = replace(backbone.head, width=len(norm), ffn=len(ffn), layers=len(layers), neck=neck)
    return replace(backbone, head=head)


def _check_dino(backbone: Backbone, release: Release) -> None:
    """Refuse another vision tower than a checkpoint of DETRIS has, by name."""
    token = release.state["dinov2.cls_token"]
    vision = backbone.vision
    if isinstance(vision, DinoVision) and (vision.width, vision.depth) == (token.shape[-1], _depth(release)):
        return
    fitting = "dinov2-l" if _depth(release) == 24 else "dinov2-b"
    raise DataError(
        f"the detris checkpoint has a DINOv2 of {_depth(release)} blocks of width {token.shape[-1]} as its vision "
        f"encoder; try --backbone {fitting}"
    )


def _depth(release: Release) -> int:
    """Blocks of the vision tower in a checkpoint of DETRIS."""
    found = {name.split(".")[2] for name in release.state if name.startswith(f"{DINO}blocks.")}
    return len(found)


def fill(segmenter: nn.Module, release: Release) -> None:
    """Load every tensor of a checkpoint into a segmenter of its method, in place.

    Args:
        segmenter: a segmenter, changed in place.
        release: the checkpoint.

    Raises:
        DataError: that names every tensor that is missing, left over or of another shape.
    """
    state = release.state
    names = key_map(segmenter, release.format)

    # Every public name must be there, and be used.
    used = list(chain.from_iterable(names.values()))
    missing = [name for name in used if name not in state]
    left_over = [name for name in state.keys() - set(used) if not UNUSED.match(name)]
    problems: list[str] = []
    if missing:
        problems.append(f"missing: {', '.join(missing)}")
    if left_over:
        problems.append(f"left over: {', '.join(sorted(left_over))}")
    if problems:
        raise DataError(f"the {release.format} checkpoint does not fit: {'; '.join(problems)}")

    # Positions are fitted to the grid, by the rule that the method has.
    if isinstance(segmenter.vision, DinoVision) and segmenter.vision.takes(state["dinov2.pos_embed"]):
        segmenter.vision.fit(state["dinov2.pos_embed"])
        state = {**state, "dinov2.pos_embed": segmenter.vision.trunk.pos_embed.detach()}

    # Every tensor must have the segmenter's shape.
    values: dict[str, Tensor] = {}
    for name, own in segmenter.state_dict().items():
        value = join([state[source] for source in names[name]])
        values[name] = value
        if value.shape != own.shape:
            problems.append(f"{names[name][0]} is {tuple(value.shape)}, not {tuple(own.shape)}")
    if problems:
        raise DataError(f"the {release.format} checkpoint does not fit: {'; '.join(problems)}")
    segmenter.load_state_dict(values)


def key_map(segmenter: nn.Module, format_: Format) -> dict[str, tuple[str, ...]]:
    """Own name of each tensor of a segmenter -> its public names, whose tensors `join` makes into one."""
    names = {}
    for name, tensor in segmenter.state_dict().items():
        names[name] = tuple(_public(name, tensor, format_))
    return names


def join(parts: list[Tensor]) -> Tensor:
    """One tensor from those that the public code keeps apart (a flow's transforms), concatenated along axis 0."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _public(name: str, tensor: Tensor, format_: Format) -> Iterator[str]:
    """The public names of one own name: several for a flow's J transforms, which are one tensor (J, ...) here."""
    for own, public in PREFIXES[format_]:
        match = re.match(own, name)
        if match is None:
            continue
        head = match.expand(public)
        tail = name[match.end() :]
        if own.startswith(DETRIS_ADAPTER):
            part = next(part for part in DETRIS_PARTS if tail.startswith(f"{part}."))
            yield head + DETRIS_PARTS[part] + tail.removeprefix(part)
        elif "flows" not in own:
            yield head + tail
        elif tail in FLOWS:
            yield head + FLOWS[tail]
        else:
            # `attn.gamma` -> `flow.transforms.0.weight`, `flow.transforms.1.weight`, ...
            branch, _, parameter = tail.partition(".")
            flow = "flow" if branch == "attn" else "flow2"
            for j in range(len(tensor)):
                yield f"{head}{flow}.transforms.{j}.{CHAINS[parameter]}"
        return
    raise UsageError(f"{name} has no counterpart in a checkpoint of format {format_}")
