"""(IA)3: keys, values and widened activations are rescaled (Liu et al., NeurIPS 2022)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from barbench.methods.domains import BOTH, Towers, checked
from barbench.methods.sites import AtMaps, chosen, map_key
from barbench.models.stream import Role, Site
from barbench.models.towers.base import Backbone


class Gain(nn.Module):
    """l * y per channel; l starts at one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, T, D_in) and (B, T, d) -> (B, T, d)."""
        return y * self.gain.to(y.dtype)


class IA3(AtMaps):
    """k <- l_k * k, v <- l_v * v, and a <- l_ff * a for what feeds the MLP's down map; all start at one: identity.

    The activation is scaled after the nonlinearity, in EVA after the inner norm. Scaling the queries would be scaling
    the keys again: they get none. Both towers by default, as the original tunes each transformer block of its model.

    Args:
        towers: which towers are tuned.
    """

    label: ClassVar[str] = "IA3"
    roles: frozenset[Role] = frozenset({"k", "v", "act"})

    @checked
    def __init__(self, towers: Towers = BOTH) -> None:
        super().__init__()
        self.towers = frozenset(towers)

    def attach(self, backbone: Backbone) -> None:
        """Allocate the gains l_k, l_v (D each) and l_ff (the MLP's width) per block."""
        self.maps = nn.ModuleDict()
        for tower in chosen(backbone, self.towers):
            for block in range(tower.depth):
                attention = Site(tower.name, block, "attn")
                self.maps[map_key(attention, "k")] = Gain(tower.width)
                self.maps[map_key(attention, "v")] = Gain(tower.width)
                wide = tower.linear(block, "down").weight.shape[1]
                self.maps[map_key(Site(tower.name, block, "mlp"), "act")] = Gain(wide)
