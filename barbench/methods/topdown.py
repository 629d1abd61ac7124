"""The side network of the released BarLeRIa code, which is not the paper's GST: top-down attention, run twice."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.methods.base import Component
from barbench.methods.domains import FUSIONS, Fusions, NormedSize, Size, checked
from barbench.models.attention import attend
from barbench.models.stream import Fused, Trace
from barbench.models.towers.base import Backbone

GAIN = 5.0
EPSILON = 1e-6


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize each position: (B, C, H, W) -> (B, C, H, W)."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class TopDownBlock(nn.Module):
    """Pre-norm transformer block; a top-down signal passes through its value map and is added to the values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, EPSILON)
        self.norm2 = nn.LayerNorm(width, EPSILON)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, signal: Tensor | None = None) -> Tensor:
        """Tokens and, in the second pass, the signal, (B, T, d) each -> (B, T, d).

        The signal is not normalized, and the value bias enters twice.
        """
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        # The signal goes through the same value map W_v, its bias included.
        if signal is not None:
            value_weight = self.qkv.weight.chunk(3)[2]
            value_bias = self.qkv.bias.chunk(3)[2]
            v = v + F.linear(signal, value_weight, value_bias)
        x = x + self.proj(attend(q, k, v, self.heads))
        # The block's MLP.
        hidden = F.gelu(self.fc1(self.norm2(x)))
        y: Tensor = x + self.fc2(hidden)
        return y


class Feedback(nn.Module):
    """One step back: `linear` predicts a block's input from its output, `linear2` makes the signal for its values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)
        self.linear2 = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Predict the block's input from its output: (B, T, d) -> (B, T, d)."""
        y: Tensor = self.linear(x)
        return y


class TopDown(Component):
    """[q, words, I] pass through the blocks twice; the result of the first pass is fed back into the second.

    Between the passes the tokens are weighted by their cosine with the mean word p, clamped to [0, 1], and replaced by
    5 (x . p) p. Features of vision blocks 0, 3, 6, 9 of twelve, counted from zero and not detached, are added before
    the first block and after the first three blocks of the second pass.

    Args:
        side: channels of the side network.
        depth: blocks, at least 4.
        queries: learnable query tokens.
        heads: attention heads, which must divide `side`.
        cosine: `batch`: p is normalized **over the batch**, so that predictions depend on what else is in the batch
            (the released code). `sample`: over its channels.
        reconstruction: the loss by which `Feedback.linear` learns to predict each block's input. The released code has
            it; the paper does not mention it.

    Raises:
        UsageError: if `heads` does not divide `side`.
    """

    label: ClassVar[str] = "TopDown"

    @checked
    def __init__(
        self,
        side: NormedSize = 144,
        depth: Fusions = 8,
        queries: Size = 128,
        heads: Size = 3,
        cosine: Literal["batch", "sample"] = "batch",
        reconstruction: bool = True,
    ) -> None:
        super().__init__()
        if side % heads:
            raise UsageError(f"TopDown: its {heads} heads do not divide topdown.side, which is {side}")
        self.side = side
        self.depth = depth
        self.queries = queries
        self.heads = heads
        self.cosine = cosine
        self.reconstruction = reconstruction

    def attach(self, backbone: Backbone) -> None:
        """Allocate embeddings, blocks, feedback and projections, initialized as in the released code."""
        vision = backbone.vision
        text = backbone.text
        side = self.side
        # The input [q, words, I].
        self.patch_embed = nn.Conv2d(3, side, vision.patch, vision.patch)
        self.pos_embed = nn.Parameter(torch.empty(1, vision.grid[0] * vision.grid[1], side))
        self.query_embed = nn.Parameter(torch.empty(1, self.queries, side))
        self.query_pos_embed = nn.Parameter(torch.empty(1, self.queries, side))
        # The blocks, and the way back through them.
        self.blocks = nn.ModuleList(TopDownBlock(side, self.heads) for _ in range(self.depth))
        self.decoders = nn.ModuleList(Feedback(side) for _ in range(self.depth))
        # Vision features of four depths.
        self.fusion_layers = nn.ModuleList()
        for _ in range(FUSIONS):
            norm = ChannelNorm(vision.width, EPSILON)
            self.fusion_layers.append(nn.Sequential(norm, nn.Conv2d(vision.width, side, 1)))
        self.taps = [vision.depth * i // FUSIONS for i in range(FUSIONS)]
        self._initialize()
        self.proj = nn.Sequential(nn.Linear(text.width, 32), nn.ReLU(), nn.Linear(32, side))
        self.out = nn.Linear(side, backbone.head.width)

    def _initialize(self) -> None:
        for p in (self.pos_embed, self.query_embed, self.query_pos_embed):
            nn.init.trunc_normal_(p, std=0.02)
        for module in (*self.blocks.modules(), *self.decoders.modules()):
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.fusion_layers.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def head_parameters(self) -> list[nn.Parameter]:
        """The projection to the head's width."""
        return list(self.out.parameters())

    def tapped(self) -> frozenset[int]:
        """The vision blocks whose features are added to the patches."""
        return frozenset(self.taps)

    def fuse(self, query: Tensor, trace: Trace) -> Fused:
        """The neck's output F_c (B, Q, H, W) plus the side network's patches, and in training the reconstruction loss.

        Of the trace it reads `image` (B, 3, S, S), `words` (B, L, D) and `taps` (B, C, H, W).
        """
        # The input [q, words, I]: (B, queries + L + N, side).
        image = self.patch_embed(trace.image).flatten(2).transpose(1, 2) + self.pos_embed
        words = self.proj(trace.words)
        queries = (self.query_embed + self.query_pos_embed).expand(len(image), -1, -1)
        front = self.queries + words.shape[1]
        start = self._add(0, torch.cat([queries, words, image], 1), front, trace)
        # First pass, without signals.
        first = start
        for block in self.blocks:
            first = block(first)
        # Second pass from the same input, each block with its signal from the first pass.
        loss = query.new_zeros(())
        reconstruct = self.reconstruction and self.training
        x = start
        for i, signal in enumerate(self._signals(first, words.mean(1))):
            before = x
            x = self.blocks[i](before, signal)
            # Trains `Feedback.linear` alone: both its input and its target are detached.
            if reconstruct:
                loss = loss + F.mse_loss(self.decoders[i](x.detach()), before.detach())
            # Vision features of the next depth, added to the patches.
            if i + 1 < FUSIONS:
                x = self._add(i + 1, x, front, trace)
        fused = self.out(x[:, front:]).transpose(1, 2).reshape(query.shape)
        return Fused(query + fused, loss if reconstruct else None)

    def _add(self, number: int, x: Tensor, front: int, trace: Trace) -> Tensor:
        """Tokens (B, T, d) with the vision features of one depth added to the patches."""
        feature = self.fusion_layers[number](trace.taps[self.taps[number]])
        feature = feature.flatten(2).transpose(1, 2)
        return torch.cat([x[:, :front], x[:, front:] + feature], 1)

    def _signals(self, x: Tensor, word: Tensor) -> list[Tensor]:
        """The signal (B, T, d) for each block, from the first pass's x (B, T, d) and the mean word p (B, d)."""
        # Weight the tokens by cos(x, p). "batch" normalizes p along the wrong axis, as the released code does.
        axis = 0 if self.cosine == "batch" else 1
        unit = F.normalize(word, dim=axis)[..., None]
        cosine = F.normalize(x, dim=-1) @ unit
        x = x * cosine.clamp(0, 1)
        # 5 (x . p) p.
        x = GAIN * (x @ word[..., None]) * word[:, None]
        # From the last block to the first.
        signals: list[Tensor] = []
        for step in list(self.decoders)[::-1]:
            x = step(x)
            signals.append(step.linear2(x))  # type: ignore[operator]
        return signals[::-1]
