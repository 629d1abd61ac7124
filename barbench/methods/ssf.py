"""SSF: scale and shift after every frozen map and norm (Lian et al., NeurIPS 2022)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from barbench.methods.domains import BOTH, Deviation, Towers, checked
from barbench.methods.sites import AtMaps, chosen, map_key, per_map
from barbench.models.stream import ROLES, LinearRole, Role, Site
from barbench.models.towers.base import Backbone, Tower


class ScaleShift(nn.Module):
    """z <- gamma * z + beta per channel; gamma N(1, init_std), beta N(0, init_std)."""

    def __init__(self, width: int, init_std: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(1 + init_std * torch.randn(width))
        self.beta = nn.Parameter(init_std * torch.randn(width))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """(B, T, D_in) and (B, T, d) -> (B, T, d)."""
        return torch.addcmul(self.beta.to(z.dtype), self.gamma.to(z.dtype), z)


class SSF(AtMaps):
    """Scale and shift after both norms, q, k, v, out, up (before the nonlinearity), down, and the norms outside the
    blocks.

    By default in both towers: the original knows vision alone, but names no reason to stop there. The patch
    embedding's convolution gets none, because CLIP has a norm behind it; EVA's gate counts as a map, its inner norms
    get none. The shift of the keys is inert, as in BitFit. Beside LoRA list LoRA first: then SSF scales what it made.

    Args:
        spread: standard deviation of the start; 0 is the identity.
        ends: whether the norms outside the blocks are scaled.
        towers: which towers are tuned.
    """

    label: ClassVar[str] = "SSF"
    roles: frozenset[Role] = frozenset(ROLES).difference({"act"})

    @checked
    def __init__(self, spread: Deviation = 0.02, ends: bool = True, towers: Towers = BOTH) -> None:
        super().__init__()
        self.init_std = spread
        self.outer_norms = ends
        self.towers = frozenset(towers)

    def attach(self, backbone: Backbone) -> None:
        """Allocate gamma and beta per map, per norm in front of a branch, and per norm outside the blocks."""

        def of_map(tower: Tower, block: int, role: LinearRole) -> ScaleShift:
            return ScaleShift(tower.linear(block, role).weight.shape[0], self.init_std)

        self.maps = nn.ModuleDict()
        for tower in chosen(backbone, self.towers):
            self.maps.update(dict(per_map(backbone, of_map, (tower.name,), tower.maps).items()))
            # Behind the maps of a tower come its norms, inside the blocks and outside.
            norms: list[Site] = []
            for block in range(tower.depth):
                norms += [Site(tower.name, block, "attn"), Site(tower.name, block, "mlp")]
            if self.outer_norms:
                norms += tower.outer_norms
            for site in norms:
                self.maps[map_key(site, "norm")] = ScaleShift(tower.width, self.init_std)
