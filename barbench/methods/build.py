"""From a method and a backbone to a segmenter that is ready to train."""

from dataclasses import replace

import torch

from barbench.methods.catalog import NONE, MethodSpec, Options
from barbench.models.segmenter import Segmenter
from barbench.models.towers.base import Backbone


def build_segmenter(spec: MethodSpec, backbone: Backbone, seed: int = 0, options: Options = NONE) -> Segmenter:
    """The segmenter of one method, on the backbone's device.

    Head and method parameters are drawn from `seed`, whatever was drawn before, and no other random state changes.

    Args:
        spec: the method.
        backbone: the frozen encoders, which become part of the segmenter.
        seed: of the head's and the method's initial parameters.
        options: `component.parameter` to value.

    Returns:
        A segmenter in training mode, its encoders in evaluation mode.

    Raises:
        UsageError: for options that the method does not have.
    """
    if spec.neck not in (None, backbone.head.neck):
        # CRIS' decoder has MLPs of four times its width.
        head = replace(backbone.head, neck=spec.neck, form="full", ffn=4 * backbone.head.width)
        backbone = replace(backbone, head=head, head_weights=None)
    device = next(backbone.vision.parameters()).device
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        return Segmenter(backbone, spec.create(options))
