"""LST, ladder side-tuning: a narrow network beside each tower, which lets no gradient into it (Sung et al., NeurIPS
2022)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.methods.base import Component
from barbench.methods.gst import GlobalBlock
from barbench.methods.sites import BOTH, chosen
from barbench.models.hooks import Carry
from barbench.models.stream import LinearRole, TowerName, Trace, at_end
from barbench.models.towers.base import Backbone, Linear, Tower
from barbench.models.walk import STAGES

TEMPERATURE = 0.1
PRUNED: tuple[LinearRole, ...] = ("q", "k", "v", "out", "up", "down")


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
        heads = next(n for n in range(min(tower.heads, width), 0, -1) if width % n == 0)
        self.down = nn.ModuleList(nn.Linear(tower.width, width) for _ in (-1, *rungs))
        self.alpha = nn.Parameter(torch.zeros(len(rungs)))
        self.blocks = nn.ModuleList(GlobalBlock(width, heads, prior=False) for _ in rungs)
        self.norm = nn.LayerNorm(width)
        self.up = nn.ModuleList(nn.Linear(width, tower.width) for _ in range(outputs))
        self.ends = [tower.depth * (i + 1) // outputs for i in range(outputs)]

    def forward(self, tokens: Mapping[int, Tensor], mask: Tensor | None = None) -> list[Tensor]:
        """Climb the ladder.

        Args:
            tokens: after the blocks `rungs` and, under -1, the embeddings, (B, T, D) each.
            mask: attend mask (T, T), True = attend; None: every token attends to all.

        Returns:
            The outputs (B, T, D), each after the last rung within its share of the depth.
        """
        states = {-1: self.down[0](tokens[-1].detach())}
        x, mu = states[-1], (self.alpha / TEMPERATURE).sigmoid()
        for i, (rung, down, block) in enumerate(zip(self.rungs, self.down[1:], self.blocks, strict=True)):
            x = states[rung] = block(mu[i] * x + (1 - mu[i]) * down(tokens[rung].detach()), None, mask=mask)
        read = [states[max(rung for rung in states if rung < end)] for end in self.ends]
        return [up(self.norm(state)) for up, state in zip(self.up, read, strict=True)]

    def prune(self, tower: Tower) -> None:
        """Start every side block as the frozen block without the channels that have the smallest weights.

        Structured pruning by absolute sums: the tokens' channels are chosen once for the tower, from all of its maps;
        the channels inside attention and MLP for each block.

        Args:
            tower: the frozen encoder.
        """
        width = self.norm.normalized_shape[0]
        frozen = [{role: tower.linear(block, role) for role in PRUNED} for block in range(tower.depth)]
        sums = [_sums(maps, ("q", "k", "v", "up"), ("out", "down")) for maps in frozen]
        kept = _largest(torch.stack(sums).sum(0), width)
        for rung, block in zip(self.rungs, self.blocks, strict=True):
            maps = frozen[rung]
            inner = _largest(_sums(maps, ("out",), ("q", "k", "v")), width)
            hidden = _largest(_sums(maps, ("down",), ("up",)), 4 * width)
            assert isinstance(block, GlobalBlock)
            cut = [_cut(maps[role], inner, kept) for role in ("q", "k", "v")]
            _copy(block.qkv, *(torch.cat(parts) for parts in zip(*cut, strict=True)))
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
    projection behind them. The words' side network is causal, as the tower. The original's side blocks begin as pruned
    copies of the backbone's; ours, too, by absolute sums. It has side blocks at 9 of 12 blocks by default, ours at all.

    Args:
        reduction: r; the side network has the tower's width / r channels.
        rungs: blocks that have a side block, spread evenly, the last one among them; None: all (the original's default
            is 9 of 12).
        init: `pruned` or `random` side blocks.
        towers: which towers get a side network; the other one is read as it is.

    Raises:
        UsageError: if there is no tower or rung, or r is less than 2.
    """

    label: ClassVar[str] = "LST"
    alone: ClassVar[str] = "its side network lets no gradient into the encoders"

    def __init__(
        self,
        reduction: int = 8,
        rungs: int | None = None,
        init: Literal["pruned", "random"] = "pruned",
        towers: tuple[TowerName, ...] = BOTH,
    ) -> None:
        super().__init__()
        if reduction < 2 or not towers or (rungs is not None and rungs < 1):
            raise UsageError("LST needs a reduction of at least 2, a tower, and at least one rung")
        self.reduction, self.rungs, self.init, self.towers = reduction, rungs, init, tuple(towers)

    def attach(self, backbone: Backbone) -> None:
        """Allocate the side networks; the towers are kept for their last norms and projections."""
        self._vision, self._text = (backbone.vision,), (backbone.text,)  # in tuples: not its own
        self.ladders = nn.ModuleDict()
        for tower in chosen(backbone, self.towers):
            count = min(self.rungs or tower.depth, tower.depth)
            places = [-(-(i + 1) * tower.depth // count) - 1 for i in range(count)]
            outputs = STAGES if tower.name == "vision" else 1
            ladder = Ladder(tower, max(1, tower.width // self.reduction), places, outputs)
            if self.init == "pruned":
                ladder.prune(tower)
            self.ladders[tower.name] = ladder

    def tapped_tokens(self) -> frozenset[tuple[TowerName, int]]:
        """The embeddings and the blocks that have a rung."""
        return frozenset((t, rung) for t in self.towers for rung in (-1, *self._ladder(t).rungs))

    def _ladder(self, tower: TowerName) -> Ladder:
        ladder = self.ladders[tower]
        assert isinstance(ladder, Ladder)
        return ladder

    def readout(self, trace: Trace, carry: Carry) -> Trace:
        """Levels, words and sentence from the side networks.

        Args:
            trace: `tokens` of the rungs.
            carry: not used.

        Returns:
            The trace with what the chosen towers give replaced.
        """

        def tokens(tower: TowerName) -> dict[int, Tensor]:
            return {rung: trace.tokens[tower, rung] for rung in (-1, *self._ladder(tower).rungs)}

        if "vision" in self.ladders:
            (vision,) = self._vision
            rows, columns = vision.grid
            first, second, last = (x[:, -rows * columns :] for x in self._ladder("vision")(tokens("vision")))
            levels = [x.transpose(1, 2).unflatten(2, vision.grid) for x in (first, second, vision.finish(last))]
            trace = trace._replace(levels=(levels[0], levels[1], levels[2]))
        if "text" in self.ladders:
            (text,) = self._text
            length = trace.words.shape[1]
            causal = torch.ones(length, length, dtype=torch.bool, device=trace.words.device).tril()
            (state,) = self._ladder("text")(tokens("text"), causal)
            words = text.finish(state)
            joint = text.project(words)
            trace = trace._replace(words=words, joint=joint, sentence=at_end(joint, trace.end))
        return trace
