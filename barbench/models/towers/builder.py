"""What a family of backbones says of itself in code: how its towers are made, filled, and whose names it reads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from barbench.models.towers.base import TextTower, VisionTower
from barbench.spec.backbone import BackboneConfig

State = dict[str, Tensor]
"""Parameters by name."""

KeyMap = Callable[[State], State | None]
"""From another code base's names to the module's own; None for a state dict that is not of that code base."""


class Towers(NamedTuple):
    """Both encoders of a backbone."""

    vision: VisionTower
    text: TextTower


@dataclass(frozen=True, slots=True)
class Builder:
    """How the towers of a family are made; `load.BUILDERS` has one per `spec.backbone.Family`.

    Attributes:
        build: (configuration, image size in pixels) -> a module with both encoders and random weights.
        fill: (module, weights by its names, their file for messages, whether resizing of positions is antialiased)
            loads weights in place; DataError if they do not fit.
        wrap: (module, image size in pixels, the same `antialias`) -> the towers around the filled module. Parts that no
            weights file holds are made here, at random.
        key_maps: for weights files of other code bases, tried in order.
    """

    build: Callable[[BackboneConfig, int], Any]
    fill: Callable[[Any, State, Path, bool], None]
    wrap: Callable[[Any, int, bool], Towers]
    key_maps: tuple[KeyMap, ...] = ()

    def rename(self, state: State) -> State:
        """The weights under the module's own names, whichever code base wrote them."""
        for key_map in self.key_maps:
            renamed = key_map(state)
            if renamed is not None:
                return renamed
        return state
