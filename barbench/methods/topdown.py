"""The side network of the released BarLeRIa code, which is not the GST of the paper: top-down attention, run twice."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.methods.base import Component
from barbench.models.attention import attend
from barbench.models.stream import Fused, Trace
from barbench.models.towers.base import Backbone

FUSIONS = 4
GAIN = 5.0
EPSILON = 1e-6


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map (B, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class TopDownBlock(nn.Module):
    """Pre-norm transformer block; a top-down signal passes through the block's own value map and is added to the
    values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, signal: Tensor | None = None) -> Tensor:
        """Tokens x and signal (B, T, d) -> (B, T, d). The signal is not normalised; the value bias enters twice."""
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        if signal is not None:
            v = v + F.linear(signal, self.qkv.weight.chunk(3)[2], self.qkv.bias.chunk(3)[2])
        x = x + self.proj(attend(q, k, v, self.heads))
        y: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return y


class Feedback(nn.Module):
    """One step back: `linear` predicts a block's input from its output, `linear2` makes the signal for its values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear, self.linear2 = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """What entered the block, given what left it, (B, T, d) -> (B, T, d)."""
        y: Tensor = self.linear(x)
        return y


class TopDown(Component):
    """[q, words, I] pass through `depth` blocks twice; what the first pass finds is fed back into the second.

    Between the passes the tokens are weighed by their cosine with the mean word p, clamped to [0, 1], and replaced by
    5 (x . p) p. That cosine normalises p **over the batch** (`cosine="batch"`), so that predictions depend on what
    else is in the batch; `cosine="sample"` is the same with p normalised over its channels. Features of vision blocks
    0, 3, 6, 9 of twelve, counted from zero, not detached, are added before the first block and after the first three
    of the second pass. `reconstruction`: the loss by which `Feedback.linear` learns to predict each block's input,
    which the paper does not mention.
    """

    label: ClassVar[str] = "TopDown"

    def __init__(
        self,
        side: int = 144,
        depth: int = 8,
        queries: int = 128,
        heads: int = 3,
        cosine: Literal["batch", "sample"] = "batch",
        reconstruction: bool = True,
    ) -> None:
        super().__init__()
        if depth < FUSIONS or queries < 1 or side % heads:
            raise UsageError("the side network needs depth >= 4, queries >= 1, and a side that its heads divide")
        self.side, self.depth, self.queries, self.heads = side, depth, queries, heads
        self.cosine, self.reconstruction = cosine, reconstruction

    def attach(self, backbone: Backbone) -> None:
        vision, text, side = backbone.vision, backbone.text, self.side
        self.patch_embed = nn.Conv2d(3, side, vision.patch, vision.patch)
        self.pos_embed = nn.Parameter(torch.empty(1, vision.grid[0] * vision.grid[1], side))
        self.query_embed = nn.Parameter(torch.empty(1, self.queries, side))
        self.query_pos_embed = nn.Parameter(torch.empty(1, self.queries, side))
        self.blocks = nn.ModuleList(TopDownBlock(side, self.heads) for _ in range(self.depth))
        self.decoders = nn.ModuleList(Feedback(side) for _ in range(self.depth))
        self.fusion_layers = nn.ModuleList(
            nn.Sequential(ChannelNorm(vision.width, EPSILON), nn.Conv2d(vision.width, side, 1)) for _ in range(FUSIONS)
        )
        self.taps = [vision.depth * i // FUSIONS for i in range(FUSIONS)]
        self._initialise()
        self.proj = nn.Sequential(nn.Linear(text.width, 32), nn.ReLU(), nn.Linear(32, side))
        self.out = nn.Linear(side, backbone.head.width)

    def _initialise(self) -> None:
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
        return list(self.out.parameters())

    def tapped(self) -> frozenset[int]:
        return frozenset(self.taps)

    def fuse(self, query: Tensor, trace: Trace) -> Fused:
        image = self.patch_embed(trace.image).flatten(2).transpose(1, 2) + self.pos_embed
        words = self.proj(trace.words)
        asked = (self.query_embed + self.query_pos_embed).expand(len(image), -1, -1)
        front, loss = self.queries + words.shape[1], query.new_zeros(())
        reconstruct = self.reconstruction and self.training
        x = first = self._add(0, torch.cat([asked, words, image], 1), front, trace)
        for block in self.blocks:
            first = block(first)
        for i, signal in enumerate(self._signals(first, words.mean(1))):
            before, x = x, self.blocks[i](x, signal)
            if reconstruct:
                loss = loss + F.mse_loss(self.decoders[i](x.detach()), before.detach())
            if i + 1 < FUSIONS:
                x = self._add(i + 1, x, front, trace)
        fused = self.out(x[:, front:]).transpose(1, 2).reshape(query.shape)
        return Fused(query + fused, loss if reconstruct else None)

    def _add(self, number: int, x: Tensor, front: int, trace: Trace) -> Tensor:
        """Tokens (B, T, d) with the vision features of one depth added to the patches."""
        feature = self.fusion_layers[number](trace.taps[self.taps[number]])
        return torch.cat([x[:, :front], x[:, front:] + feature.flatten(2).transpose(1, 2)], 1)

    def _signals(self, x: Tensor, word: Tensor) -> list[Tensor]:
        """The signal (B, T, d) for each block, from the first pass's x (B, T, d) and the mean word p (B, d)."""
        unit = F.normalize(word, dim=0 if self.cosine == "batch" else 1)[..., None]
        x = x * (F.normalize(x, dim=-1) @ unit).clamp(0, 1)
        x = GAIN * (x @ word[..., None]) * word[:, None]
        signals: list[Tensor] = []
        for step in list(self.decoders)[::-1]:
            x = step(x)
            signals.append(step.linear2(x))  # type: ignore[operator]
        return signals[::-1]
