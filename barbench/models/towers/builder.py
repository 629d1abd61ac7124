"""What a family of backbones says of itself in code: how its towers are made, filled, and whose names it reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from barbench.models.names import TowerName
from barbench.models.towers.base import TextTower, VisionTower
from barbench.spec.backbone import BackboneConfig

State = dict[str, Tensor]
"""Parameters by name."""

KeyMap = Callable[[State], State | None]
"""From another code base's names to the module's own; None for a state dict that is not of that code base."""

PartMap = Callable[[State, Path, BackboneConfig], State]
"""From the names in a file of one encoder to the module's own; DataError, which names the file, for another model."""

PREFIXES: dict[TowerName, str] = {"vision": "visual.", "text": "text."}
"""How the names of an encoder's parameters begin in a module for a pair of models."""


class Towers(NamedTuple):
    """Both encoders of a backbone."""

    vision: VisionTower
    text: TextTower


@dataclass(frozen=True, slots=True)
class Builder:
    """How the towers of a family are made; `load.BUILDERS` has one per `spec.backbone.Family`.

    Attributes:
        build: (configuration, image size in pixels) -> a module with both encoders and random weights.
        fill: (module, weights by its names, their files for messages, whether resizing of positions is antialiased)
            loads weights in place; DataError if they do not fit.
        wrap: (module, image size in pixels, the same `antialias`) -> the towers around the filled module. Parts that no
            weights file holds are made here, at random.
        key_maps: for weights files of other code bases, tried in order.
        part_maps: for a pair of models, each of which has a file.
    """

    build: Callable[[BackboneConfig, int], Any]
    fill: Callable[[Any, State, str, bool], None]
    wrap: Callable[[Any, int, bool], Towers]
    key_maps: tuple[KeyMap, ...] = ()
    part_maps: Mapping[TowerName, PartMap] = field(default_factory=dict)

    def rename(self, state: State) -> State:
        """The weights under the module's own names, whichever code base wrote them."""
        for key_map in self.key_maps:
            renamed = key_map(state)
            if renamed is not None:
                return renamed
        return state
