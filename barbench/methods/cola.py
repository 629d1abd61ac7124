"""CoLA: LoRA whose second pair is steered by the other tower (Suharitdamrong et al., 2026)."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.errors import UnfitBackbone
from barbench.methods.base import Component, Traits
from barbench.methods.domains import BOTH, LEAST_NORMED, LinearRoles, NormedSize, Reduction, Scale, Towers, checked
from barbench.methods.lora import LowRank
from barbench.methods.sites import map_key, pairs, per_map
from barbench.models.hooks import Carry
from barbench.models.stream import LinearRole, Phase, Role, Roles, Site, Step, Stream, TowerName
from barbench.models.towers.base import Backbone, Tower
from barbench.models.walk import lockstep
from barbench.spec.text import listed

EPS = 1e-6
"""Of both norms, as in the public code."""
INSIDE: Mapping[str, frozenset[Phase]] = {
    "uniform": frozenset(),
    "module": frozenset({"mlp"}),
    "progressive": frozenset({"out", "mlp"}),
}
"""By exchange: when c is taken anew inside a block."""


class HyperNetwork(nn.Module):
    """Phi = LN(reshape(W_2 LN(gelu(W_1 c + b_1)) + b_2)), an r x r matrix; the last norm is over all of its numbers."""

    def __init__(self, inputs: int, hidden: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.down = nn.Linear(inputs, hidden)
        self.norm = nn.LayerNorm(hidden, EPS)
        self.up = nn.Linear(hidden, rank * rank)
        self.last_norm = nn.LayerNorm((rank, rank), EPS)
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, c: Tensor) -> Tensor:
        """From the other tower's mean token (B, inputs) to Phi (B, r, r)."""
        numbers = self.up(self.norm(F.gelu(self.down(c))))
        phi: Tensor = self.last_norm(numbers.view(-1, self.rank, self.rank))
        return phi


class CrossPair(nn.Module):
    """l B Phi A u: A (r, in) starts Kaiming-uniform with a = sqrt 5, B (out, r) at zero, the scalar l at `scale`, which
    is alpha / r; `network` makes Phi."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float, network: HyperNetwork) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))
        self.scale = nn.Parameter(torch.full((1,), scale))
        self.network = network
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, u: Tensor, c: Tensor) -> Tensor:
        """From the map's input u (B, T, in) and the other tower's mean token c (B, d_c) to what is added to the map's
        output (B, T, out)."""
        narrow = F.linear(u, self.a)
        # Rows are tokens: multiplying by Phi from the left is multiplying rows by its transpose.
        steered = narrow @ self.network(c).transpose(1, 2)
        return F.linear(steered, self.b) * self.scale


class PairedMap(nn.Module):
    """What CoLA has at one frozen map: LoRA's pair and, where the other tower lends a token, the steered one."""

    def __init__(self, own: LowRank, cross: CrossPair | None) -> None:
        super().__init__()
        self.own = own
        self.cross = cross

    def forward(self, u: Tensor, y: Tensor, c: Tensor | None) -> Tensor:
        """Input u (B, T, in), output y (B, T, out) and the other tower's token c (B, d_c) -> (B, T, out)."""
        y = self.own(u, y)
        if self.cross is not None and c is not None:
            y = y + self.cross(u, c)
        return y


class CoLA(Component):
    """y = W u + b + s B_m A_m u + l B_c Phi(c) A_c u at the maps `roles` of every block; identity at the start.

    c is a mean of the other tower: over all patches for the words, over all positions, padding included, for the
    patches. Every map has a hypernetwork of its own. A tower whose partner pauses has LoRA alone in that block, as
    published for unequal depths. At rank 1 the norm over a single number would always give 0.

    As published, `progressive`, it is the mean of the other tower's tokens before the block for q, k and v, of its
    attention's heads for the out map, and of its tokens after the attention for the MLP. `uniform` and `module` are the
    paper's ablations.

    Args:
        rank: r of both pairs.
        alpha: s = alpha / r.
        reduction: the hypernetworks have d_c / reduction units, at least 2, d_c being the other tower's width.
        exchange: what c is a mean of. `uniform`: the tokens before the block for all maps. `module`: those, and for the
            MLP the tokens after the attention. `progressive`: as published.
        roles: among q, k, v, out, up, down, and gate, which EVA alone has and which is passed over elsewhere.
        towers: which towers are tuned; each reads the other one.
        padding: `see`: the mean over words has padding in it. `mask`: it has not.
    """

    label: ClassVar[str] = "CoLA"

    @checked
    def __init__(
        self,
        rank: NormedSize = 16,
        alpha: Scale = 8.0,
        reduction: Reduction = 16,
        exchange: Literal["uniform", "module", "progressive"] = "uniform",
        roles: LinearRoles = ("q", "k", "v", "out", "up", "down"),
        towers: Towers = BOTH,
        padding: Literal["see", "mask"] = "see",
    ) -> None:
        super().__init__()
        self.rank = rank
        self.scale = alpha / rank
        self.reduction = reduction
        self.exchange = exchange
        self.roles = frozenset(roles)
        self.towers = frozenset(towers)
        self.padding = padding

    def obstacle(self, traits: Traits) -> str | None:
        """A ResNet: also where text alone is tuned, it reads tokens of one width before each block of vision."""
        if traits.transformer:
            return None
        return "its vision tower is a ResNet, which has no transformer blocks for the words to read"

    def attach(self, backbone: Backbone) -> None:
        """Allocate one module per map of `roles`, of the map's own sizes.

        Args:
            backbone: of the segmenter.

        Raises:
            UnfitBackbone: if no chosen tower has such a map.
        """
        self._widths: dict[TowerName, int] = {"vision": backbone.text.width, "text": backbone.vision.width}
        # The blocks that run beside one of the other tower.
        together = [step for step in lockstep(backbone.vision.depth, backbone.text.depth) if None not in step]
        self._paired: dict[TowerName, set[int | None]] = {
            "vision": {step.vision for step in together},
            "text": {step.text for step in together},
        }
        self.maps = per_map(backbone, self._make, self.towers, self.roles)
        if not self.maps:
            roles = listed(sorted(self.roles), "or")
            raise UnfitBackbone(f"CoLA tunes nothing on {backbone.name}: its blocks have no map {roles}")

    def _make(self, tower: Tower, block: int, role: LinearRole) -> nn.Module:
        outputs, inputs = tower.linear(block, role).weight.shape
        cross = None
        if block in self._paired[tower.name]:
            lent = self._widths[tower.name]
            network = HyperNetwork(lent, max(LEAST_NORMED, lent // self.reduction), self.rank)
            cross = CrossPair(inputs, outputs, self.rank, self.scale, network)
        return PairedMap(LowRank(inputs, outputs, self.rank, self.scale), cross)

    def before_block(self, step: Step, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Keep the mean of the patches (B, C) and of the words (B, D) for the maps of this step's blocks."""
        carry[self] = (vision.body.mean(1), self._mean_word(text))
        return vision, text

    def inside_block(self, phase: Phase, vision: Stream, text: Stream, carry: Carry) -> None:
        """Keep both means anew, for the maps that follow."""
        carry[self] = (vision.body.mean(1), self._mean_word(text))

    def phases(self) -> frozenset[Phase]:
        """When the exchange takes c anew."""
        return INSIDE[self.exchange]

    def _mean_word(self, text: Stream) -> Tensor:
        """The mean over the words (B, D)."""
        words = text.body
        if self.padding == "see" or text.pad is None:
            return words.mean(1)
        seen = (~text.pad)[..., None].to(words.dtype)
        return (words * seen).sum(1) / seen.sum(1)

    def project(self, site: Site, role: Role, x: Tensor, y: Tensor, carry: Carry) -> Tensor:
        """The map's module on its input x (B, T, D_in) and output y (B, T, D_out) -> (B, T, D_out)."""
        key = map_key(site, role)
        if key not in self.maps:
            return y
        vision, text = carry[self]
        changed: Tensor = self.maps[key](x, y, text if site.tower == "vision" else vision)
        return changed

    def projects(self) -> Roles:
        """The maps `roles` of the chosen towers."""
        return pairs(self.towers, self.roles)
