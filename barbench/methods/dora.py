"""DoRA: low-rank changes of a map's direction, and its rows' lengths tuned apart (Liu et al., ICML 2024)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from barbench.methods.base import Component
from barbench.methods.lora import LowRank, check_low_rank, scale_of
from barbench.methods.places import BOTH, map_key, per_map
from barbench.models.stream import LinearRole, Role, Roles, Site, TowerName
from barbench.models.towers.base import Backbone, Linear, Tower


class Decomposed(nn.Module):
    """y = b + g * ((W + s B A) u), g = magnitude / ||W + s B A|| per output row, the norm detached.

    `magnitude` starts at the row norms of W. From a map's output y: y + (g - 1)(y - b) + g s B A u.
    """

    def __init__(self, frozen: Linear, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        outputs, inputs = frozen.weight.shape
        self.pair = LowRank(inputs, outputs, rank, scale, dropout)
        self.magnitude = nn.Parameter(torch.linalg.vector_norm(frozen.weight.detach(), dim=1))

    def forward(self, frozen: Linear, u: Tensor, y: Tensor) -> Tensor:
        """The map's own weights, its input u (B, T, in) and output y (B, T, out) -> (B, T, out)."""
        with torch.no_grad():
            changed = frozen.weight + self.pair.scale * (self.pair.b @ self.pair.a).to(frozen.weight.dtype)
            length = torch.linalg.vector_norm(changed, dim=1)
        gain = (self.magnitude / length).to(y.dtype)
        turned = y if frozen.bias is None else y - frozen.bias.to(y.dtype)
        z: Tensor = y + (gain - 1) * turned + gain * self.pair(u)
        return z


class DoRA(Component):
    """LoRA whose rows keep a tuned length, at the maps `roles` of every block of `towers`; identity at the start.

    The norm is taken anew in every forward pass, and of the weights as they are, in case they are tuned as well. The
    frozen weights are looked up in the towers, which the component knows but does not own. With dropout the original
    feeds the dropped input to W as well; here W sees it whole.

    Args:
        roles: as LoRA's.
        rank: r of each pair.
        text_rank: r in the text tower; None: `rank`.
        alpha: s = alpha / r.
        scaling: `rslora`: s = alpha / sqrt r.
        dropout: of the input of A, in training.
        towers: which towers are tuned.

    Raises:
        UsageError: if nothing would be tuned, or a rank is not positive.
    """

    label: ClassVar[str] = "DoRA"

    def __init__(
        self,
        roles: tuple[LinearRole, ...] = ("q", "v"),
        rank: int = 8,
        text_rank: int | None = None,
        alpha: float = 8.0,
        scaling: Literal["lora", "rslora"] = "lora",
        dropout: float = 0.0,
        towers: tuple[TowerName, ...] = BOTH,
    ) -> None:
        super().__init__()
        ranks = {"vision": rank, "text": rank if text_rank is None else text_rank}
        check_low_rank(self.label, roles, towers, ranks)
        self.roles, self.towers, self.ranks = frozenset(roles), frozenset(towers), ranks
        self.alpha, self.scaling, self.dropout = alpha, scaling, dropout

    def attach(self, backbone: Backbone) -> None:
        """Allocate a pair and a magnitude per map of `roles`; the towers are kept to look up their weights."""
        self._towers: dict[str, Tower] = {"vision": backbone.vision, "text": backbone.text}  # in a dict: not its own
        self.maps = per_map(backbone, self._map, self.towers, self.roles)

    def _map(self, tower: Tower, block: int, role: LinearRole) -> Decomposed:
        rank = self.ranks[tower.name]
        return Decomposed(tower.linear(block, role), rank, scale_of(self.alpha, rank, self.scaling), self.dropout)

    def text_independent_steps(self, steps: int) -> int:
        """All steps: a linear map sees one tower."""
        return steps

    def projects(self) -> Roles:
        """The maps `roles` of the chosen towers."""
        return frozenset((tower, role) for tower in self.towers for role in self.roles)

    def project(self, site: Site, role: Role, x: Tensor, y: Tensor) -> Tensor:
        """Change the output of a frozen map.

        Args:
            site: the branch.
            role: which of its maps.
            x: the map's input (B, T, D_in).
            y: the map's output (B, T, D_out).

        Returns:
            (B, T, D_out).
        """
        key = map_key(site, role)
        if key not in self.maps:
            return y
        frozen = self._towers[site.tower].linear(site.block, role)  # type: ignore[arg-type]  # not norm, not act
        z: Tensor = self.maps[key](frozen, x, y)
        return z
