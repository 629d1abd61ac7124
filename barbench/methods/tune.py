"""Components that choose parameters of the encoders instead of adding their own."""

from typing import ClassVar

from torch import nn

from barbench.methods.base import Component
from barbench.models.towers.base import POSITIONAL, Backbone
from barbench.models.towers.resnet import BatchNorms, Connect, ResNetVision


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
        connect: `train`, `frozen` or `none`.
        batchnorm: `keep` or `train`.
    """

    label: ClassVar[str] = "ResNet parts"

    def __init__(self, connect: Connect = "train", batchnorm: BatchNorms = "keep") -> None:
        super().__init__()
        self.connect = connect
        self.batchnorm = batchnorm

    def obstacle(self, transformer: bool) -> str | None:
        """A vision tower of transformer blocks."""
        return "its vision tower is not a ResNet" if transformer else None

    def attach(self, backbone: Backbone) -> None:
        """Pass the choices on to the tower."""
        if isinstance(backbone.vision, ResNetVision):
            backbone.vision.choose(self.connect, self.batchnorm)
