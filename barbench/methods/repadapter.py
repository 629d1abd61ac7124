"""RepAdapter: linear adapters in front of attention and MLP, which fold into the maps behind (Luo et al. 2023)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from barbench.errors import UnfitBackbone, UsageError
from barbench.methods.domains import BOTH, DropoutRate, Scale, Size, Towers, checked
from barbench.methods.sites import AtMaps, chosen, map_key
from barbench.models.efficient.dropout import Dropout
from barbench.models.stream import Role, Site
from barbench.models.towers.base import Backbone


class GroupedBottleneck(nn.Module):
    """xn + s (B (A xn + a) + b): A d -> h, B h -> d in g groups, group i of the hidden units writes part i of the
    channels. A Xavier-uniform, all else zero."""

    def __init__(self, width: int, hidden: int, groups: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.scale = scale
        self.dropout = Dropout(dropout)
        self.up = nn.Parameter(torch.zeros(groups, width // groups, hidden // groups))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor, xn: Tensor) -> Tensor:
        """(B, T, d) before and after the norm -> (B, T, d)."""
        hidden = self.dropout(self.down(xn)).unflatten(-1, (len(self.up), -1))
        up = torch.einsum("btgh,gch->btgc", hidden, self.up.to(hidden.dtype)).flatten(2)
        return xn + self.scale * (up + self.bias.to(up.dtype))


class RepAdapter(AtMaps):
    """The normalized input of both branches passes through a linear bottleneck before q, k, v or up see it.

    No nonlinearity: after training it could be folded into these maps. Identity at the start. Both towers by default;
    the original knows vision alone, but the text blocks are the same blocks.

    Args:
        width: h hidden units.
        groups: g; divides h and the towers' widths.
        scale: s, which the original chooses for each task among 0.1 .. 10.
        dropout: between A and B, in training.
        towers: which towers are tuned.

    Raises:
        UsageError: if the groups do not divide the width.
    """

    label: ClassVar[str] = "RepAdapter"
    roles: frozenset[Role] = frozenset({"norm"})

    @checked
    def __init__(
        self,
        width: Size = 8,
        groups: Size = 2,
        scale: Scale = 1.0,
        dropout: DropoutRate = 0.1,
        towers: Towers = BOTH,
    ) -> None:
        super().__init__()
        if width % groups:
            raise UsageError(f"RepAdapter: {groups} groups do not divide repadapter.width, which is {width}")
        self.width = width
        self.groups = groups
        self.scale = scale
        self.dropout = dropout
        self.towers = frozenset(towers)

    def attach(self, backbone: Backbone) -> None:
        """Allocate one bottleneck per branch of the chosen towers.

        Args:
            backbone: of the segmenter.

        Raises:
            UnfitBackbone: if the groups do not divide a tower's width.
        """
        self.maps = nn.ModuleDict()
        for tower in chosen(backbone, self.towers):
            if tower.width % self.groups:
                raise UnfitBackbone(
                    f"RepAdapter: {self.groups} groups do not divide the {tower.name} width {tower.width}"
                )
            for block in range(tower.depth):
                for branch in ("attn", "mlp"):
                    made = GroupedBottleneck(tower.width, self.width, self.groups, self.scale, self.dropout)
                    self.maps[map_key(Site(tower.name, block, branch), "norm")] = made
