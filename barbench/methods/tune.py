"""Components that choose parameters of the encoders instead of adding their own."""

from typing import ClassVar

from torch import nn

from barbench.errors import UnfitBackbone, UsageError
from barbench.methods.base import Component, Traits
from barbench.methods.domains import BatchNorms, Blocks, Connect, PositionRule, checked
from barbench.models.towers.base import POSITIONAL, Backbone
from barbench.models.towers.dinov2 import DinoVision
from barbench.models.towers.resnet import ResNetVision


class Full(Component):
    """Full fine-tuning: every parameter of both encoders."""

    label: ClassVar[str] = "Full"

    def trains(self, name: str, parameter: nn.Parameter) -> bool:
        """Every parameter."""
        return True


class Positional(Component):
    """The positional embeddings of both encoders, as in the released ETRIS and BarLeRIa."""

    label: ClassVar[str] = "Positional"

    def trains(self, name: str, parameter: nn.Parameter) -> bool:
        """Parameters whose name ends like that of a positional embedding."""
        return name.endswith(POSITIONAL)


class ResNetParts(Component):
    """What a ResNet's BatchNorms and `connect`, which no CLIP checkpoint holds, do: see `ResNetVision.choose`.

    Args:
        connect: `train` it as part of the head, leave it random (`frozen`), or leave it out (`none`).
        batchnorm: `keep` the statistics of the encoders' BatchNorms, or use those of the batch in training (`train`).
    """

    label: ClassVar[str] = "ResNet parts"
    tunes: ClassVar[bool] = False

    @checked
    def __init__(self, connect: Connect = "train", batchnorm: BatchNorms = "keep") -> None:
        super().__init__()
        self.connect = connect
        self.batchnorm = batchnorm

    def obstacle(self, traits: Traits) -> str | None:
        """A vision tower of transformer blocks."""
        return "its vision tower is not a ResNet" if traits.transformer else None

    def attach(self, backbone: Backbone) -> None:
        """Pass the choices on to the tower."""
        if isinstance(backbone.vision, ResNetVision):
            backbone.vision.choose(self.connect, self.batchnorm)


class DinoParts(Component):
    """What public code does differently with one DINOv2: its positions, and where the head's feature levels are taken.

    Args:
        positions: how they are fitted to the image size: `hub`, as the model's authors do, which depends on whether it
            has registers; `detris`, as DETRIS does (as for models without registers); `hf`, as Hugging Face does for
            these.
        levels: the two blocks, counted from 0, after which the first two levels are taken; null: after each third of
            the depth. DETRIS has 4+8 of 12 blocks and 8+16 of 24.

    Raises:
        UsageError: for levels that are not two blocks in order.
    """

    label: ClassVar[str] = "DINOv2 parts"
    tunes: ClassVar[bool] = False

    @checked
    def __init__(self, positions: PositionRule = "hub", levels: Blocks | None = None) -> None:
        super().__init__()
        if levels is not None and (len(levels) != 2 or levels[0] >= levels[1]):
            raise UsageError("dinov2.levels are two blocks in order, as in 4+8")
        self.positions = positions
        self.levels = levels

    def attach(self, backbone: Backbone) -> None:
        """Pass the choices on to the tower.

        Args:
            backbone: of the segmenter.

        Raises:
            UnfitBackbone: if the vision tower is another one, or if a level is at or behind its last block, after which
                the last level is taken.
        """
        vision = backbone.vision
        if not isinstance(vision, DinoVision):
            raise UnfitBackbone(f"{self.label}: the vision tower of {backbone.name} is not DINOv2's")
        if self.levels is not None and self.levels[1] >= vision.depth - 1:
            raise UnfitBackbone(f"dinov2.levels are before the last of the {vision.depth} blocks of {backbone.name}")
        levels = None if self.levels is None else (self.levels[0], self.levels[1])
        vision.choose(self.positions, levels)
