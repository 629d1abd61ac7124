"""Whether a method can be used on a backbone, before anything is trained: it is attached to one without weights."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch

from barbench.methods.base import Method, Traits
from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone
from barbench.spec.backbone import RANDOM, backbone_config


def attached(
    create: Callable[[Mapping[str, Any]], Method],
    built_in: bool,
    backbone: str,
    options: Mapping[str, Any],
    image_size: int | None,
) -> Method:
    """A method on the meta device, attached to a backbone; see `MethodSpec.create_for`."""
    config = backbone_config(backbone)
    with torch.device("meta"):
        made = create(options)
        made.check(backbone, Traits(config.transformer, config.aligned))
        # Options of a ResNet change the tower itself.
        own = any(name.startswith("resnet.") for name in options)
        loaded = _load(backbone, image_size) if own else _shared(backbone, image_size)
        try:
            made.attach(loaded)
        except RuntimeError:
            # A method of the user's may read numbers when it is attached: if it is wrong, it says so when it trains.
            if built_in:
                raise
    return made


def _load(name: str, image_size: int | None) -> Backbone:
    return load_backbone(name, RANDOM, image_size, device="meta")


@lru_cache(maxsize=4)
def _shared(name: str, image_size: int | None) -> Backbone:
    """A backbone that is attached to and never changed."""
    return _load(name, image_size)
