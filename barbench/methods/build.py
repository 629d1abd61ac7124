"""From a method and a backbone to a segmenter that is ready to train, or to the answer that they do not fit."""

from dataclasses import replace
from functools import lru_cache

import torch

from barbench.methods.base import Method, Traits
from barbench.methods.catalog import NONE, MethodSpec, Options
from barbench.models.segmenter import Segmenter
from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone
from barbench.spec.backbone import RANDOM, backbone_config


def build_segmenter(spec: MethodSpec, backbone: Backbone, seed: int = 0, options: Options = NONE) -> Segmenter:
    """The segmenter of one method, on the backbone's device, in training mode; the encoders, in evaluation mode, become
    part of it. UsageError for options that the method does not have.

    Head and method parameters are drawn from `seed`, whatever was drawn before, and no other random state changes.
    """
    if spec.neck not in (None, backbone.head.neck):
        # CRIS' decoder has MLPs of four times its width.
        head = replace(backbone.head, neck=spec.neck, form="full", ffn=4 * backbone.head.width)
        backbone = replace(backbone, head=head, head_weights=None)
    device = next(backbone.vision.parameters()).device
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        return Segmenter(backbone, spec.create(options))


def attached(spec: MethodSpec, backbone: str, options: Options, image_size: int | None) -> Method:
    """A method on the meta device, attached to a backbone without weights; see `MethodSpec.create_for`."""
    config = backbone_config(backbone)
    with torch.device("meta"):
        made = spec.create(options)
        made.check(backbone, Traits(config.transformer, config.aligned))
        # Options of a ResNet change the tower itself.
        own = any(name.startswith("resnet.") for name in options)
        loaded = _unfilled.__wrapped__(backbone, image_size) if own else _unfilled(backbone, image_size)
        try:
            made.attach(loaded)
        except RuntimeError:
            # A method of the user's may read numbers when it is attached: if it is wrong, it says so when it trains.
            if spec.built_in:
                raise
    return made


@lru_cache(maxsize=4)
def _unfilled(name: str, image_size: int | None) -> Backbone:
    """A backbone that is attached to and, without options of a ResNet, never changed."""
    return load_backbone(name, RANDOM, image_size, device="meta")
