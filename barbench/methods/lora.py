"""LoRA: frozen linear maps get a low-rank sum beside them (Hu et al., ICLR 2022), with rsLoRA and PiSSA as options."""

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.errors import UnfitBackbone
from barbench.methods.domains import BOTH, DropoutRate, LinearRoles, Scale, Size, Towers, checked
from barbench.methods.sites import AtMaps, per_map
from barbench.models.efficient.dropout import Dropout
from barbench.models.stream import LinearRole
from barbench.models.towers.base import Backbone, Tower
from barbench.spec.text import listed


class LowRank(nn.Module):
    """y + s B A x, A (r, in), B (out, r): A starts Kaiming-uniform with a = sqrt 5, B at zero; dropout acts on x."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.scale = scale
        self.dropout = Dropout(dropout)
        self.a = nn.Parameter(torch.empty(rank, inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def factors(self) -> tuple[Tensor, Tensor]:
        """(k, in) and (out, k), whose product times s is what is added to the weight."""
        return self.a, self.b

    def product(self, x: Tensor) -> Tensor:
        """What is added to y: (..., in) -> (..., out)."""
        a, b = self.factors()
        return F.linear(F.linear(self.dropout(x), a) * self.scale, b)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The map's input (..., in) and output (..., out) -> (..., out)."""
        return y + self.product(x)


class Principal(LowRank):
    """PiSSA (Meng et al., NeurIPS 2024): A and B start from the r largest singular triplets of the frozen weight W.

    The original takes s B0 A0 away from W; here A0 and B0 are kept as buffers and s (B A - B0 A0) x is added, which is
    the same sum and leaves W alone.
    """

    a0: Tensor
    b0: Tensor

    def __init__(self, weight: Tensor, rank: int, scale: float, dropout: float = 0.0) -> None:
        outputs, inputs = weight.shape
        super().__init__(inputs, outputs, rank, scale, dropout)
        u, values, vh = torch.linalg.svd(weight.detach(), full_matrices=False)
        root = (values[:rank] / scale).sqrt()
        self.a = nn.Parameter(root[:, None] * vh[:rank])
        self.b = nn.Parameter(u[:, :rank] * root)
        self.register_buffer("a0", self.a.detach().clone())
        self.register_buffer("b0", self.b.detach().clone())

    def factors(self) -> tuple[Tensor, Tensor]:
        """(2 r, in) and (out, 2 r)."""
        return torch.cat([self.a, self.a0]), torch.cat([self.b, -self.b0], 1)


class LoRA(AtMaps):
    """y = W u + b + s B A u at the maps `roles` of every block of `towers`; identity at the start.

    Separate pairs for q and v, as in the original: one pair on the fused q, k, v would have as many parameters. What
    is trained stays beside W in evaluation, too. By default q and v in both towers, the original's choice in each
    transformer that it tunes.

    Args:
        roles: among q, k, v, out, up, down, and gate, which EVA alone has and which is passed over elsewhere.
        rank: r of each pair.
        text_rank: r in the text tower; None: `rank`.
        alpha: s = alpha / r.
        scaling: `rslora`: s = alpha / sqrt r.
        init: `pissa`: from the largest singular triplets of W.
        dropout: of the input of A, in training.
        towers: which towers are tuned.
    """

    label: ClassVar[str] = "LoRA"
    roles: frozenset[LinearRole]

    @checked
    def __init__(
        self,
        roles: LinearRoles = ("q", "v"),
        rank: Size = 8,
        text_rank: Size | None = None,
        alpha: Scale = 8.0,
        scaling: Literal["lora", "rslora"] = "lora",
        init: Literal["lora", "pissa"] = "lora",
        dropout: DropoutRate = 0.0,
        towers: Towers = BOTH,
    ) -> None:
        super().__init__()
        self.roles = frozenset(roles)
        self.towers = frozenset(towers)
        self.ranks = {"vision": rank, "text": rank if text_rank is None else text_rank}
        self.alpha = alpha
        self.scaling = scaling
        self.init = init
        self.dropout = dropout

    def attach(self, backbone: Backbone) -> None:
        """Allocate one module per map of `roles`, of the map's own sizes.

        Args:
            backbone: of the segmenter.

        Raises:
            UnfitBackbone: if none of the chosen towers has such a map.
        """
        self.maps = per_map(backbone, self._make, self.towers, self.roles)
        if not self.maps:
            roles = listed(sorted(self.roles), "or")
            raise UnfitBackbone(f"{self.label} tunes nothing on {backbone.name}: its blocks have no map {roles}")

    def _make(self, tower: Tower, block: int, role: LinearRole) -> nn.Module:
        return self._pair(tower, block, role)

    def _pair(self, tower: Tower, block: int, role: LinearRole) -> LowRank:
        weight = tower.linear(block, role).weight
        rank = self.ranks[tower.name]
        # rsLoRA (Kalajdzievski 2023) divides by the root, so that high ranks learn as fast as low ones.
        scale = self.alpha / (rank if self.scaling == "lora" else math.sqrt(rank))
        if self.init == "pissa":
            most = min(weight.shape)
            if rank > most:
                raise UnfitBackbone(
                    f"{self.label}: the {tower.name} tower's map {role} has {most} singular triplets, "
                    f"fewer than the rank of {rank}"
                )
            return Principal(weight, rank, scale, self.dropout)
        return LowRank(weight.shape[1], weight.shape[0], rank, scale, self.dropout)
