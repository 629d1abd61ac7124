"""Components that choose parameters of the encoders instead of adding their own."""

from typing import ClassVar

from torch import nn

from barbench.methods.base import Component
from barbench.models.towers.base import POSITIONAL


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
