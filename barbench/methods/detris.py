"""DETRIS: dense aligners in the vision tower, dense adapters in the text tower (Huang et al., AAAI 2025)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from barbench.errors import UnfitBackbone, UsageError
from barbench.methods.base import Component
from barbench.methods.domains import Blocks, DropoutRate, Multiple16, Multiple16OrZero, Size, checked
from barbench.models.attention import multihead
from barbench.models.hooks import Carry, Order
from barbench.models.stream import Site, Step, Stream, TowerName
from barbench.models.towers.base import Backbone, Tower

SCALE = 0.2
EPS = 1e-3


class Dense(nn.Module):
    """Three branches, each fed with all before it: 1; 1 then 3; 1 then 5 wide. Channels c/2, c/4, c/4 of c.

    `dimensions` 2 on a grid, 1 along words. Every convolution has a bias, BatchNorm and ReLU.
    """

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        half = channels // 2
        quarter = channels // 4
        narrow = channels // 16
        conv: type[nn.Module] = nn.Conv2d if dimensions == 2 else nn.Conv1d
        norm: type[nn.Module] = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm1d

        def block(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
            made = conv(inputs, outputs, kernel, padding=kernel // 2)
            if dimensions == 2:
                nn.init.kaiming_normal_(made.weight, nonlinearity="relu")  # type: ignore[arg-type]
                nn.init.zeros_(made.bias)  # type: ignore[arg-type]
            return [made, norm(outputs, eps=EPS), nn.ReLU(inplace=True)]

        # Each branch reads the input and what the branches before it gave.
        self.first = nn.Sequential(*block(channels, half, 1))
        self.second = nn.Sequential(*block(channels + half, narrow, 1), *block(narrow, quarter, 3))
        seen = channels + half + quarter
        self.third = nn.Sequential(*block(seen, narrow, 1), *block(narrow, quarter, 5))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, ...) -> (B, c, ...)."""
        first = self.first(x)
        second = self.second(torch.cat([x, first], 1))
        third = self.third(torch.cat([x, first, second], 1))
        return torch.cat([first, second, third], 1)


class CrossAttention(nn.Module):
    """W_o MHA(q = W_i y, k = v = W_t t): the attention's output replaces y."""

    def __init__(self, channels: int, words: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout)
        self.image = nn.Linear(channels, width)
        self.text = nn.Linear(words, width)
        self.back = nn.Linear(width, channels)
        for linear in (self.attention.out_proj, self.image, self.text, self.back):
            _truncated(linear)

    def forward(self, y: Tensor, words: Tensor) -> Tensor:
        """Patches y (B, N, c), words (B, L, D) -> (B, N, c); padding takes part, as in the original."""
        keys = self.text(words)
        z: Tensor = self.back(multihead(self.attention, self.image(y), keys, keys))
        return z


class Aligner(nn.Module):
    """A(xn, t) = U([front of x0, z] + x0), x0 = relu(L xn); y = dense(patches of x0) + them; z = cross(y, t).

    The front, the class token and inserted ones, passes through L, relu and U alone (doubled). Without `cross` z is y,
    without `conv` y is the patches of x0.
    """

    def __init__(
        self, width: int, channels: int, words: int, grid: tuple[int, int], cross: CrossAttention | None, conv: bool
    ) -> None:
        super().__init__()
        self.grid = grid
        self.cross = cross
        self.down = nn.Linear(width, channels)
        self.up = nn.Linear(channels, width)
        self.dense = Dense(channels, 2) if conv else None
        for linear in (self.down, self.up):
            _truncated(linear)

    def forward(self, xn: Tensor, words: Tensor) -> Tensor:
        """xn (B, T, d), the last rows x columns tokens being the patches; words (B, L, D) -> (B, T, d)."""
        x0 = self.down(xn).relu()
        front = xn.shape[1] - self.grid[0] * self.grid[1]
        y = x0[:, front:]
        if self.dense is not None:
            grid = y.transpose(1, 2).reshape(len(y), -1, *self.grid)
            y = (self.dense(grid) + grid).flatten(2).transpose(1, 2)
        if self.cross is not None:
            y = self.cross(y, words)
        z: Tensor = self.up(torch.cat([x0[:, :front], y], 1) + x0)
        return z


class WordAdapter(nn.Module):
    """A_t(x) = U([x0 of word 0, dense(x0 of the other words)] + x0), x0 = relu(L x), with convolutions along words."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, channels)
        self.up = nn.Linear(channels, width)
        self.dense = Dense(channels, 1)

    def forward(self, x: Tensor, front: int) -> Tensor:
        """x (B, T, D), of which `front` tokens precede the words -> (B, T, D)."""
        x0 = self.down(x).relu()
        words = self.dense(x0[:, front + 1 :].transpose(1, 2)).transpose(1, 2)
        z: Tensor = self.up(torch.cat([x0[:, : front + 1], words], 1) + x0)
        return z


class Detris(Component):
    """delta <- delta + 0.2 A at the MLP of every second block of both towers; not an identity at the start.

    Where the block has a LayerScale, as DINOv2's have, 0.2 A is added before it, as in the original.

    On CLIP it is a reading: the original is for DINOv2 (ViT-B/14, four registers, 448 px), takes its levels after other
    blocks (`dinov2.levels=4+8`), has a residual around the neck's last convolutions (`neck: detris`) and trains longer.
    The modules are the original's, and so are their counts.

    The aligners read the finished words, so that the text tower runs first. The text adapter's convolutions are
    centered: a word sees the next two, so the causal mask is broken, padding reaches the words, and results depend on
    the fixed length of the text. BatchNorm over them needs batches of more than one in training.

    Args:
        channels: c of the aligners, a multiple of 16.
        text_channels: c of the text adapters; 0: none.
        embed: width E of the cross-attention.
        heads: of the cross-attention, which divide `embed`.
        dropout: of the attention's weights, in training.
        conv: whether the aligners convolve. Without, SwimVG's cross-modal adapter in kind.
        cross: whether they look at words. Without, MaPPER's local convolution adapter in kind.
        text: whether the text tower has adapters.
        blocks: how many blocks of each tower have one, spread evenly, the last one among them; None: half of them (the
            original has 6 of 12).
        at: the vision blocks, counted from 0, that have an aligner, in place of `blocks`: 2+6+10+14+18+22 in the
            original's 24.
        text_at: the same for text.

    Raises:
        UsageError: if the heads do not divide `embed`, or the aligners neither convolve nor look at words.
    """

    label: ClassVar[str] = "DETRIS"

    @checked
    def __init__(
        self,
        channels: Multiple16 = 128,
        text_channels: Multiple16OrZero = 64,
        embed: Size = 128,
        heads: Size = 8,
        dropout: DropoutRate = 0.1,
        conv: bool = True,
        cross: bool = True,
        text: bool = True,
        blocks: Size | None = None,
        at: Blocks | None = None,
        text_at: Blocks | None = None,
    ) -> None:
        super().__init__()
        if embed % heads:
            raise UsageError(f"DETRIS: its {heads} heads do not divide detris.embed, which is {embed}")
        if not (conv or cross):
            raise UsageError("DETRIS needs detris.conv or detris.cross")
        self.channels = channels
        self.text_channels = text_channels if text else 0
        self.embed = embed
        self.heads = heads
        self.dropout = dropout
        self.conv = conv
        self.cross = cross
        self.blocks = blocks
        self.at = at
        self.text_at = text_at

    def attach(self, backbone: Backbone) -> None:
        """Allocate the aligners (vision) and the adapters (text), each at the MLP of its blocks.

        Args:
            backbone: of the segmenter.

        Raises:
            UnfitBackbone: for a block that a tower does not have.
        """
        vision = backbone.vision
        text = backbone.text
        self.aligners = nn.ModuleDict()
        # Not as submodules: they are the segmenter's.
        self._towers: dict[TowerName, Tower] = {"vision": vision, "text": text}
        blocks = self._blocks_of(vision, self.at)
        self.first = blocks[0]
        for block in blocks:
            cross = None
            if self.cross:
                cross = CrossAttention(self.channels, text.width, self.embed, self.heads, self.dropout)
            made = Aligner(vision.width, self.channels, text.width, vision.grid, cross, self.conv)
            self.aligners[Site("vision", block, "mlp").key] = made
        self.adapters = nn.ModuleDict()
        if self.text_channels:
            for block in self._blocks_of(text, self.text_at):
                self.adapters[Site("text", block, "mlp").key] = WordAdapter(text.width, self.text_channels)

    def _blocks_of(self, tower: Tower, asked: tuple[int, ...] | None) -> list[int]:
        """Which blocks of a tower have a module."""
        depth = tower.depth
        if asked is not None and max(asked) >= depth:
            raise UnfitBackbone(f"DETRIS: the {tower.name} tower has the blocks 0 to {depth - 1}, not {max(asked)}")
        if asked is not None:
            return sorted(asked)
        return spread(depth, max(1, depth // 2) if self.blocks is None else min(self.blocks, depth))

    def order(self) -> Order | None:
        """Text first, since the aligners read the finished words; either order without `cross`."""
        return "text first" if self.cross else None

    def text_independent_steps(self, steps: int) -> int:
        """The steps before the first aligner with cross-attention; all steps without `cross`."""
        return self.first if self.cross else steps

    def before_block(self, step: Step, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Keep the words' padding mask (B, L), from which `branch` counts the words; no token changes."""
        # A text branch sees inserted tokens, too; the mask has as many columns as there are words.
        if self not in carry and text.pad is not None:
            carry[self] = (text.pad,)
        return vision, text

    def after_text(self, words: Tensor, carry: Carry) -> None:
        """Keep the finished words (B, L, D) for the aligners."""
        carry[self] = (words,)

    def branch(self, site: Site, x: Tensor, xn: Tensor, delta: Tensor, carry: Carry) -> Tensor:
        """delta plus a fifth of the aligner's output for xn, or of the text adapter's for x, times LayerScale's gains
        where there are some; all (B, T, D)."""
        if site.key in self.aligners:
            words = carry[self][0] if self.cross else xn
            added: Tensor = self.aligners[site.key](xn, words)
        elif site.key in self.adapters:
            # Words (B, L, D) or their mask (B, L): either says how many there are.
            front = x.shape[1] - carry[self][0].shape[1]
            added = self.adapters[site.key](x, front)
        else:
            return delta
        added = SCALE * added
        gains = self._towers[site.tower].layer_scale(site)
        if gains is not None:
            added = gains * added
        return delta + added


def spread(depth: int, count: int) -> list[int]:
    """Blocks that are spread evenly over a depth, the last one among them.

    >>> spread(12, 6)
    [1, 3, 5, 7, 9, 11]
    """
    return [depth * (i + 1) // count - 1 for i in range(count)]


def _truncated(linear: nn.Linear) -> None:
    """As the vision transformer's own start leaves all of its linear maps, adapters included."""
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
