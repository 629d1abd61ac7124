"""Components that choose parameters of the encoders instead of adding their own."""

from typing import ClassVar

from torch import nn

from barbench.methods.base import Component, Traits
from barbench.methods.domains import BatchNorms, Connect, checked
from barbench.models.towers.base import POSITIONAL, Backbone
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
