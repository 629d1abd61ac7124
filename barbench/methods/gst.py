"""GST, global shortcut tuning (Eq. 4-8): a narrow transformer beside the frozen encoders, regulated by a global
prior."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.methods.base import Component
from barbench.models.attention import attend
from barbench.models.positions import sincos_2d
from barbench.models.stream import Fused, Trace
from barbench.models.towers.base import Backbone


def global_prior(words: Tensor, patches: Tensor, sentence: Tensor) -> Tensor:
    """Eq. 4: cos([F_l, F_v], f_l) * [F_l, F_v], all in the joint space.

    words F_l (B, L, E), patches F_v (B, N, E), sentence f_l (B, E) -> (B, L + N, E). The paper leaves open which
    language vector the cosine takes; here it is the sentence embedding.
    """
    both = torch.cat([words, patches], 1)
    return F.cosine_similarity(both, sentence[:, None], dim=-1)[..., None] * both


class GlobalBlock(nn.Module):
    """Pre-norm transformer block whose values are I W_v + p W_p (Eq. 6); MLP ratio 4. W_p has no bias: W_v has one."""

    def __init__(self, width: int, heads: int, prior: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.prior = nn.Linear(width, width, bias=False) if prior else None
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, prior: Tensor | None, start: int = 0) -> Tensor:
        """Tokens x (B, T, d) and prior p_i (B, T, d) -> the tokens from `start` on, (B, T - start, d)."""
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        if self.prior is not None and prior is not None:
            v = v + self.prior(prior)
        x = x[:, start:] + self.out(attend(q[:, start:], k, v, self.heads))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class GST(Component):
    """[q, F_l, I] pass through `modules` blocks of width `side`, each followed by the vision features of one depth
    (Eq. 5, 7, 8).

    Where the text is silent, these choices are ours: I is an own embedding of the backbone's patches with fixed
    sine-cosine positions, queries and words carry none; F_l and F_v are words and final patches in the joint space;
    one projection W_l takes words and prior to `side`; the prior's rows for the queries are zero; 6 heads; F_v^i is
    projected to `side` and added to the patch part of I_i, which goes on into G_{i+1} (I has the tower's grid, so Eq.
    8 has nothing to interpolate); F_out^M is projected to the head's width, added to the neck's output, and that last
    projection is booked as head. Only F_v^i is detached. Padding takes part, as in LIM.

    `prior=False`: no global prior. `detach=False`: gradients of Eq. 8 reach the encoders.
    """

    label: ClassVar[str] = "GST"

    def __init__(
        self,
        side: int = 144,
        modules: int = 4,
        queries: int = 128,
        heads: int = 6,
        prior: bool = True,
        detach: bool = True,
    ) -> None:
        super().__init__()
        if modules < 1 or queries < 0 or side % heads or side % 4:
            raise UsageError("GST needs modules >= 1, queries >= 0, and a side that 4 and its heads divide")
        self.side, self.depth, self.queries, self.heads = side, modules, queries, heads
        self.prior, self.detach = prior, detach

    def attach(self, backbone: Backbone) -> None:
        vision, side, modules = backbone.vision, self.side, range(self.depth)
        self.embed = nn.Conv2d(3, side, vision.patch, vision.patch)
        self.words = nn.Linear(vision.joint, side)
        self.query = nn.Parameter(torch.randn(self.queries, side) * 0.02) if self.queries else None
        self.blocks = nn.ModuleList(GlobalBlock(side, self.heads, self.prior) for _ in modules)
        self.priors = nn.ModuleList(nn.Linear(side, side) for _ in modules) if self.prior else None
        self.features = nn.ModuleList(nn.Linear(vision.width, side) for _ in modules)
        self.out = nn.Linear(side, backbone.head.width)
        self.taps = [vision.depth * (i + 1) // self.depth - 1 for i in modules]
        self.places: Tensor
        self.register_buffer("places", sincos_2d(*vision.grid, side), persistent=False)

    def head_parameters(self) -> list[nn.Parameter]:
        return list(self.out.parameters())

    def tapped(self) -> frozenset[int]:
        return frozenset(self.taps)

    def fuse(self, query: Tensor, trace: Trace) -> Fused:
        image = self.embed(trace.image).flatten(2).transpose(1, 2) + self.places
        parts = [self.words(trace.joint), image]
        if self.query is not None:
            parts.insert(0, self.query.expand(len(image), -1, -1))
        x, front = torch.cat(parts, 1), self.queries + trace.joint.shape[1]
        prior = self._prior(trace)
        for i, block in enumerate(self.blocks):
            last = i + 1 == self.depth  # of its output only the patches are read
            x = block(x, None if prior is None or self.priors is None else self.priors[i](prior), front if last else 0)
            feature = trace.taps[self.taps[i]].flatten(2).transpose(1, 2)
            feature = self.features[i](feature.detach() if self.detach else feature)
            x = x + feature if last else torch.cat([x[:, :front], x[:, front:] + feature], 1)
        return Fused(query + self.out(x).transpose(1, 2).reshape(query.shape))

    def _prior(self, trace: Trace) -> Tensor | None:
        """p in `side` channels with zero rows for the queries, (B, queries + L + N, side)."""
        if not self.prior:
            return None
        prior = global_prior(trace.joint, trace.levels[2].flatten(2).transpose(1, 2), trace.sentence)
        return F.pad(self.words(prior), (0, 0, self.queries, 0))
