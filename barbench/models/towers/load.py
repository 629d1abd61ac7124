"""From a backbone's name to two frozen encoders; weights are random, from a cache, or from a file: no download."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from barbench.models.towers import clip, dinov2, eva, resnet
from barbench.models.towers.base import Backbone
from barbench.models.towers.builder import PREFIXES, Builder, State
from barbench.models.towers.weights import Source, find_weights, locate_weights, read_weights, sources
from barbench.spec.backbone import HEAD_WEIGHTS, MERGES, OWN_HEAD, RANDOM, HeadChoice, backbone_config

BUILDERS: dict[str, Builder] = {
    "clip": clip.BUILDER,
    "dinov2": dinov2.BUILDER,
    "eva": eva.BUILDER,
    "resnet": resnet.BUILDER,
}
"""By the name of the family in `spec.backbone.FAMILIES`."""


def load_backbone(
    name: str,
    weights: str | None = None,
    image_size: int | None = None,
    *,
    device: str = "cpu",
    seed: int = 0,
    antialias: bool = True,
    head: HeadChoice = OWN_HEAD,
) -> Backbone:
    """Build two frozen encoders, in fp32 and evaluation mode, with positions resized to the image size.

    Args:
        name: what `backbone_config` accepts.
        weights: `random`, `pretrained` (the folder's own), a tag of open_clip (from its cache only), or a file; of a
            pair of models `VISION,TEXT`, where the tags of vision are timm's. None: the backbone's default.
        image_size: side of the square images in pixels; None: the backbone's default.
        device: `cpu`, or `meta` for shapes without values, where weights are never read.
        seed: of random weights.
        antialias: of the bicubic resizing of positions: on as in open_clip, off as in ETRIS. DINOv2 has rules of its
            own, see `DinoVision.choose`.
        head: neck and form of the segmentation head, where they are not the backbone's own; a shipped head, which would
            not fit, is then left out.

    Returns:
        The encoders, their tokenizer and sizes.

    Raises:
        UnknownName: if there is no such backbone, or it has no such weights.
        UsageError: if backbone, weights and image size do not go together.
        MissingData: if the weights are not on this machine.
        DataError: if the weights cannot be read or do not fit.
    """
    config = backbone_config(name)
    builder = BUILDERS[config.family.name]
    weights = weights or config.default_weights()
    size = config.image_size(image_size)
    head_spec = head.of(config.head)
    shipped = _own_file(config.folder, HEAD_WEIGHTS) if head_spec == config.head else None

    # Refuse wrong weights before anything is built; the meta device needs no file.
    files: list[tuple[Source, Path | None]] = []
    for source in sources(config, weights):
        if device != "meta":
            files.append((source, find_weights(source)))
        elif source.weights != RANDOM:
            locate_weights(source)

    # Random weights depend on the seed alone; what no file holds is drawn around the filled module.
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        model: Any = builder.build(config, size)
    _fill(model, builder, files, antialias)
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        towers = builder.wrap(model, size, antialias)
    model.eval().requires_grad_(False)

    return Backbone(
        name=name,
        weights=weights,
        vision=towers.vision,
        text=towers.text,
        image_size=size,
        tokenizer=_tokenizer(_own_file(config.folder, MERGES)),
        head=head_spec,
        head_weights=shipped,
        normalization=config.normalization,
        aligned=config.aligned,
    )


def _fill(model: Any, builder: Builder, files: list[tuple[Source, Path | None]], antialias: bool) -> None:
    """Load what the files hold; a model of a pair that has no file keeps its random weights."""
    state: State = {}
    read: list[str] = []
    for source, file in files:
        # One file has both towers, or each model of a pair its own, under other names.
        if file is not None:
            read.append(str(file))
            found = read_weights(file, source.config)
            if source.part is None:
                state |= builder.rename(found)
            else:
                state |= builder.part_maps[source.part](found, file, source.config)
        elif source.part is not None:
            prefix = PREFIXES[source.part]
            state |= {name: value for name, value in model.state_dict().items() if name.startswith(prefix)}
    if read:
        builder.fill(model, state, " and ".join(read), antialias)


def _own_file(folder: Path | None, name: str) -> Path | None:
    """A file of the backbone's folder; None where there is no folder or no such file."""
    if folder is None or not (folder / name).is_file():
        return None
    return folder / name


@lru_cache
def _tokenizer(merges: Path | None) -> Callable[..., Tensor]:
    """The tokenizer with a folder's own byte-pair merges; None: CLIP's."""
    tokenizer: Callable[..., Tensor] = SimpleTokenizer(str(merges)) if merges else SimpleTokenizer()
    return tokenizer
