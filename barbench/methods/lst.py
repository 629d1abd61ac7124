"""LST, ladder side-tuning: a narrow network beside each tower, which lets no gradient into it (Sung et al., NeurIPS
2022)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from barbench.errors import UnfitBackbone
from barbench.methods.base import Component
from barbench.methods.domains import BOTH, LEAST_NORMED, Reduction, Size, Towers, checked
from barbench.methods.gst import GlobalBlock
from barbench.methods.sites import chosen
from barbench.models.hooks import Carry
from barbench.models.stream import LinearRole, TowerName, Trace, at_end
from barbench.models.towers.base import Backbone, Linear, Tower
from barbench.models.walk import STAGES

TEMPERATURE = 0.1
QKV: tuple[LinearRole, ...] = ("q", "k", "v")
PRUNED: tuple[LinearRole, ...] = (*QKV, "out", "up", "down")


class Ladder(nn.Module):
    """One tower's side network: s_i = Block_i(mu_i s_{i-1} + (1 - mu_i) L_i x_i), s_0 = L_0 x_0.

    x_i are the tokens after a frozen block, detached; x_0 are the embeddings. mu_i = sigmoid(alpha_i / 0.1), alpha_i
    starting at 0. A norm and one linear map U per output bring s back to the tower's width.

    Args:
        tower: the frozen encoder.
        width: channels s of the side network.
        rungs: the frozen blocks, counted from 0, that have a side block.
        outputs: how many states are read, the last of them after the last rung.
    """

    def __init__(self, tower: Tower, width: int, rungs: list[int], outputs: int) -> None:
        super().__init__()
        self.rungs = rungs
        # As many heads as the tower has, or the next smaller number that divides the width.
        heads = min(tower.heads, width)
        while width % heads:
            heads -= 1
        self.down = nn.ModuleList(nn.Linear(tower.width, width) for _ in (-1, *rungs))
        self.alpha = nn.Parameter(torch.zeros(len(rungs)))
        self.blocks = nn.ModuleList(GlobalBlock(width, heads, prior=False) for _ in rungs)
        self.norm = nn.LayerNorm(width)
        self.up = nn.ModuleList(nn.Linear(width, tower.width) for _ in range(outputs))
        self.read_after = [tower.depth * (i + 1) // outputs for i in range(outputs)]

    def forward(self, tokens: Mapping[int, Tensor], mask: Tensor | None = None) -> list[Tensor]:
        """Run the side network.

        Args:
            tokens: after the blocks `rungs` and, under -1, the embeddings, (B, T, D) each.
            mask: attend mask (T, T), True = attend; None: every token attends to all.

        Returns:
            The outputs (B, T, D), each after the last rung within its share of the depth.
        """
        # s_0 = L_0 x_0.
        x = self.down[0](tokens[-1].detach())
        states = {-1: x}
        # s_i = Block_i(mu_i s_{i-1} + (1 - mu_i) L_i x_i).
        mu = (self.alpha / TEMPERATURE).sigmoid()
        for i, rung in enumerate(self.rungs):
            feature = self.down[i + 1](tokens[rung].detach())
            x = self.blocks[i](mu[i] * x + (1 - mu[i]) * feature, None, mask=mask)
            states[rung] = x
        # Each output is read from the last state within its share of the depth.
        outputs = []
        for up, end in zip(self.up, self.read_after, strict=True):
            last = max(rung for rung in states if rung < end)
            outputs.append(up(self.norm(states[last])))
        return outputs

    def prune(self, tower: Tower) -> None:
        """Start every side block as the frozen block without the channels that have the smallest weights.

        Structured pruning by absolute sums: the tokens' channels are chosen once for the tower, from all of its maps;
        the channels inside attention and MLP for each block.
        """
        width = self.norm.normalized_shape[0]
        frozen: list[dict[LinearRole, Linear]] = []
        for number in range(tower.depth):
            frozen.append({role: tower.linear(number, role) for role in PRUNED})
        # The tokens' channels with the largest sums over all blocks.
        sums = [_sums(maps, ("q", "k", "v", "up"), ("out", "down")) for maps in frozen]
        kept = _largest(torch.stack(sums).sum(0), width)
        # Each side block from the channels of its frozen one.
        for rung, block in zip(self.rungs, self.blocks, strict=True):
            assert isinstance(block, GlobalBlock)
            maps = frozen[rung]
            inner = _largest(_sums(maps, ("out",), ("q", "k", "v")), width)
            hidden = _largest(_sums(maps, ("down",), ("up",)), 4 * width)
            weights = []
            biases = []
            for role in QKV:
                weight, bias = _cut(maps[role], inner, kept)
                weights.append(weight)
                biases.append(bias)
            _copy(block.qkv, torch.cat(weights), torch.cat(biases))
            _copy(block.out, *_cut(maps["out"], kept, inner))
            _copy(block.mlp[0], *_cut(maps["up"], hidden, kept))
            _copy(block.mlp[2], *_cut(maps["down"], kept, hidden))


def _sums(
    maps: Mapping[LinearRole, Linear], reading: tuple[LinearRole, ...], writing: tuple[LinearRole, ...]
) -> Tensor:
    """Absolute sums per channel, over the columns of maps that read it and the rows of maps that write it."""
    columns = [maps[role].weight.detach().abs().sum(0) for role in reading]
    rows = [maps[role].weight.detach().abs().sum(1) for role in writing]
    return torch.stack(columns + rows).sum(0)


def _largest(sums: Tensor, count: int) -> Tensor:
    return sums.topk(count).indices.sort().values


def _cut(linear: Linear, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of some rows and columns; a map without bias gets one of zero."""
    bias = linear.weight.new_zeros(len(linear.weight)) if linear.bias is None else linear.bias
    return linear.weight.detach()[rows][:, columns], bias.detach()[rows]


def _copy(into: nn.Module, weight: Tensor, bias: Tensor) -> None:
    assert isinstance(into, nn.Linear)
    with torch.no_grad():
        into.weight.copy_(weight)
        into.bias.copy_(bias)


class LST(Component):
    """A side network for each tower; the head reads its outputs in place of the encoders' own.

    The reading for segmentation is ours: the states after a third, two thirds and all of the vision tower become the
    three levels, through a map U of their own; the last one, and the words, pass through the frozen norm and
    projection behind them. Without a neck, only the last state becomes a level. The words' side network is causal, as
    the tower. The original has side blocks at 9 of 12 blocks by default, ours at all.

    The original's side blocks begin as copies of the backbone's, pruned by Fisher information, channels chained from
    one map to the next. Ours copy the six maps alone, pruned by absolute sums: their norms start at gain 1 and shift
    0, they have GELU where the copied maps were trained with QuickGELU or SwiGLU, and no dropout.

    Args:
        reduction: r; the side network has the tower's width / r channels.
        rungs: blocks that have a side block, spread evenly, the last one among them; None: all (the original's default
            is 9 of 12).
        init: `pruned` or `random` side blocks.
        towers: which towers get a side network; the other one is read as it is.
    """

    label: ClassVar[str] = "LST"
    alone: ClassVar[str] = "its side network lets no gradient into the encoders"

    @checked
    def __init__(
        self,
        reduction: Reduction = 8,
        rungs: Size | None = None,
        init: Literal["pruned", "random"] = "pruned",
        towers: Towers = BOTH,
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.rungs = rungs
        self.init = init
        self.towers = tuple(towers)

    def attach(self, backbone: Backbone) -> None:
        """Allocate the side networks; the towers are kept for their last norms and projections.

        Args:
            backbone: of the segmenter.

        Raises:
            UnfitBackbone: if a side network would be too narrow for its norms.
        """
        # In tuples, so that the towers are not registered as submodules.
        self._vision = (backbone.vision,)
        self._text = (backbone.text,)
        self.ladders = nn.ModuleDict()
        for tower in chosen(backbone, self.towers):
            count = min(self.rungs or tower.depth, tower.depth)
            # Spread evenly, rounded up: the last block has a rung.
            rungs = [-(-(i + 1) * tower.depth // count) - 1 for i in range(count)]
            # A state of each level that the head reads; a map for a level that is not read would get no gradient.
            outputs = 1
            if tower.name == "vision" and backbone.head.neck != "none":
                outputs = STAGES
            width = tower.width // self.reduction
            if width < LEAST_NORMED:
                raise UnfitBackbone(
                    f"LST: lst.reduction={self.reduction} leaves {width} of the {tower.name} tower's {tower.width} "
                    f"channels, too few for its norms; it is at most {tower.width // LEAST_NORMED} on {backbone.name}"
                )
            ladder = Ladder(tower, width, rungs, outputs)
            if self.init == "pruned":
                ladder.prune(tower)
            self.ladders[tower.name] = ladder

    def tapped_tokens(self) -> frozenset[tuple[TowerName, int]]:
        """The embeddings and the blocks that have a rung."""
        wanted: set[tuple[TowerName, int]] = set()
        for tower in self.towers:
            for rung in (-1, *self._ladder(tower).rungs):
                wanted.add((tower, rung))
        return frozenset(wanted)

    def _ladder(self, tower: TowerName) -> Ladder:
        ladder = self.ladders[tower]
        assert isinstance(ladder, Ladder)
        return ladder

    def readout(self, trace: Trace, carry: Carry) -> Trace:
        """Levels (B, C, H, W), words (B, L, D) and sentence (B, E) from the side networks of the chosen towers."""
        if "vision" in self.ladders:
            trace = self._read_vision(trace)
        if "text" in self.ladders:
            trace = self._read_text(trace)
        return trace

    def _read_vision(self, trace: Trace) -> Trace:
        (vision,) = self._vision
        patches = vision.grid[0] * vision.grid[1]
        *inner, last = self._ladder("vision")(self._tokens(trace, "vision"))
        # Without the tokens in front of the patches; the last level passes through the frozen norm and projection.
        finished = _on_grid(vision.finish(last[:, -patches:]), vision.grid)
        if not inner:  # nothing reads the first two levels
            return trace._replace(levels=(*trace.levels[:2], finished))
        first, second = (_on_grid(state[:, -patches:], vision.grid) for state in inner)
        return trace._replace(levels=(first, second, finished))

    def _read_text(self, trace: Trace) -> Trace:
        (text,) = self._text
        length = trace.words.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=trace.words.device).tril()
        (state,) = self._ladder("text")(self._tokens(trace, "text"), causal)
        words = text.finish(state)
        joint = text.project(words)
        return trace._replace(words=words, joint=joint, sentence=at_end(joint, trace.end))

    def _tokens(self, trace: Trace, tower: TowerName) -> dict[int, Tensor]:
        """Block -> its tokens (B, T, D), for the embeddings (-1) and the rungs."""
        return {rung: trace.tokens[tower, rung] for rung in (-1, *self._ladder(tower).rungs)}


def _on_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, H W, C) -> (B, C, H, W)."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
