"""LoRA: frozen linear maps get a low-rank sum beside them (Hu et al., ICLR 2022), with rsLoRA and PiSSA as options."""

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.methods.base import Component
from barbench.methods.places import BOTH, map_key, per_map
from barbench.models.efficient.dropout import Dropout
from barbench.models.stream import LinearRole, Role, Roles, Site, TowerName
from barbench.models.towers.base import Backbone, Tower


class LowRank(nn.Module):
    """s B A u with A (r, in), B (out, r): A starts Kaiming-uniform with a = sqrt 5, B at zero; dropout acts on u."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.scale = scale
        self.dropout = Dropout(dropout)
        self.a, self.b = nn.Parameter(torch.empty(rank, inputs)), nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, u: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return F.linear(F.linear(self.dropout(u), self.a) * self.scale, self.b)


class Principal(LowRank):
    """PiSSA (Meng et al., NeurIPS 2024): A and B start from the r largest singular triplets of the frozen weight W.

    The original takes s B0 A0 away from W; here A0 and B0 are kept as buffers and s (B A - B0 A0) u is added, which is
    the same sum and leaves W alone.
    """

    a0: Tensor
    b0: Tensor

    def __init__(self, weight: Tensor, rank: int, scale: float, dropout: float = 0.0) -> None:
        outputs, inputs = weight.shape
        super().__init__(inputs, outputs, rank, scale, dropout)
        u, values, vh = torch.linalg.svd(weight.detach(), full_matrices=False)
        root = (values[:rank] / scale).sqrt()
        self.a, self.b = nn.Parameter(root[:, None] * vh[:rank]), nn.Parameter(u[:, :rank] * root)
        self.register_buffer("a0", self.a.detach().clone())
        self.register_buffer("b0", self.b.detach().clone())

    def forward(self, u: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        down, up = torch.cat([self.a, self.a0]), torch.cat([self.b, -self.b0], 1)
        return F.linear(F.linear(self.dropout(u), down) * self.scale, up)


def scale_of(alpha: float, rank: int, scaling: Literal["lora", "rslora"]) -> float:
    """The factor s of a pair.

    Args:
        alpha: the numerator.
        rank: r.
        scaling: `lora`: alpha / r; `rslora`: alpha / sqrt r (Kalajdzievski 2023).

    Returns:
        s.
    """
    return alpha / (rank if scaling == "lora" else math.sqrt(rank))


class LoRA(Component):
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

    Raises:
        UsageError: if nothing would be tuned, or a rank is not positive.
    """

    label: ClassVar[str] = "LoRA"

    def __init__(
        self,
        roles: tuple[LinearRole, ...] = ("q", "v"),
        rank: int = 8,
        text_rank: int | None = None,
        alpha: float = 8.0,
        scaling: Literal["lora", "rslora"] = "lora",
        init: Literal["lora", "pissa"] = "lora",
        dropout: float = 0.0,
        towers: tuple[TowerName, ...] = BOTH,
    ) -> None:
        super().__init__()
        ranks = {"vision": rank, "text": rank if text_rank is None else text_rank}
        check_low_rank(self.label, roles, towers, ranks)
        self.roles, self.towers, self.ranks = frozenset(roles), frozenset(towers), ranks
        self.alpha, self.scaling, self.init, self.dropout = alpha, scaling, init, dropout

    def attach(self, backbone: Backbone) -> None:
        """Allocate one pair per map of `roles`, of the map's own sizes."""
        self.pairs = per_map(backbone, self._pair, self.towers, self.roles)

    def _pair(self, tower: Tower, block: int, role: LinearRole) -> LowRank:
        weight, rank = tower.linear(block, role).weight, self.ranks[tower.name]
        scale = scale_of(self.alpha, rank, self.scaling)
        if self.init == "pissa":
            return Principal(weight, rank, scale, self.dropout)
        return LowRank(weight.shape[1], weight.shape[0], rank, scale, self.dropout)

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
        return y + self.pairs[key](x) if key in self.pairs else y


def check_low_rank(
    label: str, roles: tuple[LinearRole, ...], towers: tuple[TowerName, ...], ranks: dict[str, int]
) -> None:
    """Check the arguments of a low-rank component.

    Args:
        label: the component, for messages.
        roles: the maps.
        towers: the towers.
        ranks: of each tower, by name.

    Raises:
        UsageError: if nothing would be tuned, or a rank is not positive.
    """
    if not roles or not towers:
        raise UsageError(f"{label} needs at least one role and one tower")
    if any(ranks[tower] < 1 for tower in towers):
        raise UsageError(f"{label} needs a rank of at least 1")
