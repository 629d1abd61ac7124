"""From a backbone's name to two frozen encoders; weights are random, from a cache, or from a file: no download."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from barbench.models.towers import clip, eva, resnet
from barbench.models.towers.base import Backbone
from barbench.models.towers.builder import Builder
from barbench.models.towers.weights import find_weights, locate_weights, read_weights
from barbench.spec.backbone import HEAD_WEIGHTS, MERGES, OWN_HEAD, RANDOM, HeadChoice, backbone_config

BUILDERS: dict[str, Builder] = {"clip": clip.BUILDER, "eva": eva.BUILDER, "resnet": resnet.BUILDER}
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
        weights: `random`, `pretrained` (the folder's own), a tag of open_clip (from its cache only), or a file. None:
            the backbone's default.
        image_size: side of the square images in pixels; None: the backbone's default.
        device: `cpu`, or `meta` for shapes without values, where weights are never read.
        seed: of random weights.
        antialias: of the bicubic resizing of positions: on as in open_clip, off as in ETRIS.
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
    file = None
    if weights != RANDOM:
        file = locate_weights(config, weights) if device == "meta" else find_weights(config, weights)

    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        model: Any = builder.build(config, size)
    if file is not None and device != "meta":
        state = builder.rename(read_weights(file, config))
        builder.fill(model, state, file, antialias)
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
