"""GST, global shortcut tuning (Eq. 4-8): a narrow transformer beside the frozen encoders, guided by a global prior."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.errors import UnfitBackbone, UsageError
from barbench.methods.base import Component, Traits
from barbench.methods.domains import Multiple4, Size, SizeOrZero, checked
from barbench.models.attention import attend
from barbench.models.positions import sincos_2d
from barbench.models.stream import Fused, Trace
from barbench.models.towers.base import Backbone


def global_prior(words: Tensor, patches: Tensor, sentence: Tensor) -> Tensor:
    """Eq. 4: p = cos([F_l, F_v], f_l) * [F_l, F_v], all in CLIP's joint space.

    The paper leaves open which language vector the cosine takes; here it is the sentence embedding f_l.

    Args:
        words: F_l (B, L, E).
        patches: F_v (B, N, E).
        sentence: f_l (B, E).

    Returns:
        p (B, L + N, E).
    """
    both = torch.cat([words, patches], 1)
    return F.cosine_similarity(both, sentence[:, None], dim=-1)[..., None] * both


class GlobalBlock(nn.Module):
    """A module G_i: pre-norm transformer block whose values are I W_v + p W_p (Eq. 6), with an MLP ratio of 4.

    W_p, which a block has with `prior`, has no bias, since W_v has one.
    """

    def __init__(self, width: int, heads: int, prior: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.prior = nn.Linear(width, width, bias=False) if prior else None
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, prior: Tensor | None, start: int = 0, mask: Tensor | None = None) -> Tensor:
        """G_i(I, p_i), Eq. 5 and 7.

        Args:
            x: tokens I (B, T, d).
            prior: p_i (B, T, d); None: the values are I W_v alone.
            start: the first token whose output is needed; all tokens are keys and values.
            mask: as for `attend`; GST needs none.

        Returns:
            The tokens from `start` on, (B, T - start, d).
        """
        # I W_q, I W_k, I W_v.
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        # Eq. 6: the values are I W_v + p W_p.
        if self.prior is not None and prior is not None:
            v = v + self.prior(prior)
        # Eq. 6: Softmax(q k / sqrt(d)) v, with a residual connection.
        x = x[:, start:] + self.out(attend(q[:, start:], k, v, self.heads, mask))
        # The block's MLP.
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class GST(Component):
    """[q, F_l, I] pass through M modules, each followed by the vision features of one depth (Eq. 5, 7, 8).

    Where the paper is silent, these choices are ours: I is a patch embedding of its own with fixed sine-cosine
    positional encodings, queries and words carry none; F_l and F_v are words and final patches in the joint space; one
    projection W_l takes words and prior to `side`; the prior's rows for the queries are zero; 6 heads; F_v^i is
    projected to `side` and added to the patch part of I_i, which enters G_{i+1} (I has the tower's grid, so Eq. 8
    has nothing to interpolate); F_out^M is projected to the head's width, added to the neck's output F_c, and that last
    projection counts as head. Only F_v^i is detached. Padding takes part, as in LIM.

    Args:
        side: channels of the side network (144 in A.2); its positional encodings need a multiple of 4.
        modules: M (4 in A.2).
        queries: learnable query tokens q (128 in A.2).
        heads: attention heads of each module.
        prior: False: no global prior (an ablation).
        space: `joint`: the prior compares words with patches in the joint space, and one map takes both to `side`.
            `side`: for a backbone without a joint space, ours: a second map W_v takes patches to `side`, and the prior
            is taken there, after both maps.
        detach: False: gradients of Eq. 8 reach the encoders (an ablation).

    Raises:
        UsageError: if the heads do not divide `side`.
    """

    label: ClassVar[str] = "GST"

    @checked
    def __init__(
        self,
        side: Multiple4 = 144,
        modules: Size = 4,
        queries: SizeOrZero = 128,
        heads: Size = 6,
        prior: bool = True,
        space: Literal["joint", "side"] = "joint",
        detach: bool = True,
    ) -> None:
        super().__init__()
        if side % heads:
            raise UsageError(f"GST: its {heads} heads do not divide gst.side, which is {side}")
        self.side = side
        self.depth = modules
        self.queries = queries
        self.heads = heads
        self.prior = prior
        self.space = space
        self.detach = detach

    def obstacle(self, traits: Traits) -> str | None:
        """A backbone whose words and patches share no joint space, unless it needs none for the prior (Eq. 4)."""
        if traits.aligned or not self.prior or self.space == "side":
            return super().obstacle(traits)
        ways = "gst.prior=false leaves it out, gst.space=side compares them in the side network's space"
        return f"its prior compares words with patches, which share no joint space here; {ways}"

    def attach(self, backbone: Backbone) -> None:
        """Allocate the side network, and choose the blocks whose features Eq. 8 takes (3, 6, 9, 12 of 12 in A.2).

        Args:
            backbone: of the segmenter.

        Raises:
            UnfitBackbone: if the vision tower has fewer blocks than there are modules.
        """
        vision = backbone.vision
        if self.depth > vision.depth:
            raise UnfitBackbone(f"GST: gst.modules is at most {vision.depth}, the vision blocks of {backbone.name}")
        side = self.side
        modules = range(self.depth)
        # The parts of the input [q, F_l, I]; patches have a map of their own where the prior is taken in `side`.
        self.embed = nn.Conv2d(3, side, vision.patch, vision.patch)
        self.words = nn.Linear(backbone.text.joint, side)
        self.patches = nn.Linear(vision.joint, side) if self.prior and self.space == "side" else None
        self.query = nn.Parameter(torch.randn(self.queries, side) * 0.02) if self.queries else None
        # The modules G_i, and for each a map of the prior and one of the vision features.
        self.blocks = nn.ModuleList(GlobalBlock(side, self.heads, self.prior) for _ in modules)
        self.priors = nn.ModuleList(nn.Linear(side, side) for _ in modules) if self.prior else None
        self.features = nn.ModuleList(nn.Linear(vision.width, side) for _ in modules)
        self.out = nn.Linear(side, backbone.head.width)
        self.taps = [vision.depth * (i + 1) // self.depth - 1 for i in modules]
        self.positions: Tensor
        self.register_buffer("positions", sincos_2d(*vision.grid, side), persistent=False)

    def head_parameters(self) -> list[nn.Parameter]:
        """The projection of F_out^M to the head's width."""
        return list(self.out.parameters())

    def tapped(self) -> frozenset[int]:
        """The vision blocks whose features are the F_v^i of Eq. 8."""
        return frozenset(self.taps)

    def fuse(self, query: Tensor, trace: Trace) -> Fused:
        """The neck's output F_c (B, Q, H, W) plus the side network's, F_c + F_out^M (appendix C); no loss.

        Of the trace `image` (B, 3, S, S) gives I, `joint` (B, L, E) F_l, `taps` (B, C, H, W) the F_v^i; `levels[2]`
        (B, E, H, W) and `sentence` (B, E) the prior.
        """
        # The input [q, F_l, I]: (B, queries + L + N, side).
        image = self.embed(trace.image).flatten(2).transpose(1, 2) + self.positions
        parts = [self.words(trace.joint), image]
        if self.query is not None:
            parts.insert(0, self.query.expand(len(image), -1, -1))
        x = torch.cat(parts, 1)
        front = self.queries + trace.joint.shape[1]
        # Eq. 4: the global prior p.
        prior = self._prior(trace)
        for i, block in enumerate(self.blocks):
            # Of the last module's output only the patches are read.
            last = i + 1 == self.depth
            # M linear maps adapt the prior: p_i.
            adapted = None if prior is None or self.priors is None else self.priors[i](prior)
            # Eq. 5 and 7: I_i = G_i(I_{i-1}, p_i), with the attention of Eq. 6.
            x = block(x, adapted, front if last else 0)
            # Eq. 8: F_out^i = I_i + F_v^i, on the patches; F_v^i is detached.
            feature = trace.taps[self.taps[i]].flatten(2).transpose(1, 2)
            if self.detach:
                feature = feature.detach()
            feature = self.features[i](feature)
            x = x + feature if last else torch.cat([x[:, :front], x[:, front:] + feature], 1)
        # Appendix C: F_c + F_out^M.
        return Fused(query + self.out(x).transpose(1, 2).reshape(query.shape))

    def _prior(self, trace: Trace) -> Tensor | None:
        """p in `side` channels with zero rows for the queries, (B, queries + L + N, side)."""
        if not self.prior:
            return None
        patches = trace.levels[2].flatten(2).transpose(1, 2)
        if self.patches is not None:
            prior = global_prior(self.words(trace.joint), self.patches(patches), self.words(trace.sentence))
        else:
            prior = self.words(global_prior(trace.joint, patches, trace.sentence))
        return F.pad(prior, (0, 0, self.queries, 0))
