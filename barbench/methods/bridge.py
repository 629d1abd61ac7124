"""The bridge of ETRIS (Xu et al., ICCV 2023): after each third of the depth both towers exchange in a narrow space.

On a ResNet it is another one, as in the released code; both are here.
"""

from typing import ClassVar

from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.methods.base import Component
from barbench.methods.domains import DropoutRate, NormedSize, Size, checked
from barbench.models.attention import multihead
from barbench.models.efficient.dropout import Dropout
from barbench.models.hooks import Carry
from barbench.models.neck import conv_block, deconv_block
from barbench.models.stream import Stream
from barbench.models.towers.base import Backbone, Level
from barbench.models.walk import STAGES

HIDDEN = 128
"""Hidden channels of the MLP in a ResNet's exchange, whatever its dim."""


class Interactor(nn.Module):
    """x * MHA(query=x, key=memory, value=memory), of `dim` channels each."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(dim, heads)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """x (B, T, dim), gated by what it attends to of the other tower's tokens (B, S, dim) -> (B, T, dim)."""
        return x * multihead(self.multihead_attn, x, memory, memory)


class CrossLayer(nn.Module):
    """The ResNet form's exchange: self-attention, attention to the other tower and an MLP, a norm after each sum.

    Dropout acts on attention weights and on what is added, in training.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads, dropout)
        self.multihead_attn = nn.MultiheadAttention(dim, heads, dropout)
        self.linear1 = nn.Linear(dim, HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """One post-norm decoder layer: x (B, T, dim), tokens of the other tower (B, S, dim) -> (B, T, dim)."""
        x = self.norm1(x + self.dropout(multihead(self.self_attn, x, x, x)))
        x = self.norm2(x + self.dropout(multihead(self.multihead_attn, x, memory, memory)))
        hidden = self.dropout(self.linear1(x).relu())
        y: Tensor = self.norm3(x + self.dropout(self.linear2(hidden)))
        return y


class Bridge(Component):
    """Patches and words are reduced to `dim`, gate each other by attention, are widened again and added to the tokens.

    The default of 128 gives the 1.39 M of Tables 4 and 5; the released default is 64. Padding takes part, as in the
    released code. Submodules are named as there, so that its checkpoints map one to one; initialized as there.

    On a ResNet the stages have grids of their own: plain convolutions without BatchNorm bring them to the middle one
    and back, and a decoder layer takes the place of the gate. Its default of 64 is that of the released code for RN50
    and RN101 and gives 1,942,080 for both, the printed 1.94 M of RN101. The printed 1.68 M of RN50 is not what that
    code gives; a dim of 56 would meet it.

    Args:
        dim: channels of the narrow space; None: 128, and 64 on a ResNet.
        heads: attention heads, which must divide `dim`; None: 8, and 4 on a ResNet.
        dropout: of a ResNet's exchange, in training; that of a ViT has none.

    Raises:
        UsageError: if `heads` does not divide `dim`.
    """

    label: ClassVar[str] = "Bridge"

    @checked
    def __init__(self, dim: NormedSize | None = None, heads: Size | None = None, dropout: DropoutRate = 0.1) -> None:
        super().__init__()
        self.dim = dim
        self.heads = heads
        self.dropout = dropout
        # Refuse wrong sizes now, before a backbone is known.
        self._sizes(True)
        self._sizes(False)

    def _sizes(self, transformer: bool) -> tuple[int, int]:
        """`dim` and `heads` on a kind of vision tower."""
        default_dim, default_heads = (128, 8) if transformer else (64, 4)
        dim = self.dim or default_dim
        heads = self.heads or default_heads
        if dim % heads:
            raise UsageError(f"the bridge's dim {dim} is not a multiple of its {heads} heads")
        return dim, heads

    def attach(self, backbone: Backbone) -> None:
        """Allocate the maps of the three stages, and LayerNorms for the features that are carried to the last two."""
        vision = backbone.vision
        words = backbone.text.width
        stages = range(STAGES)
        dim, heads = self._sizes(vision.transformer)

        # Patches are reduced on the grid of each stage, and brought to one grid on a ResNet.
        levels = [vision.after(vision.depth * (stage + 1) // STAGES - 1) for stage in stages]
        self.grid = vision.grid
        self.grids = [level.grid for level in levels]
        self.zoom_in = nn.ModuleList()
        self.zoom_out = nn.ModuleList()
        convolutions = _blocks if vision.transformer else _plain
        for level in levels:
            down, up = convolutions(level, dim, self.grid, level is levels[-1])
            self.zoom_in.append(down)
            self.zoom_out.append(up)
        # Words are reduced and widened by one map per stage.
        self.linear1 = nn.ModuleList(nn.Linear(words, dim) for _ in stages)
        self.linear2 = nn.ModuleList(nn.Linear(dim, words) for _ in stages)

        def exchange() -> nn.Module:
            if vision.transformer:
                return Interactor(dim, heads)
            return CrossLayer(dim, heads, self.dropout)

        self.fusion_v = nn.ModuleList(exchange() for _ in stages)
        self.fusion_t = nn.ModuleList(exchange() for _ in stages)
        self.ln_v = nn.ModuleList(nn.LayerNorm(dim) for _ in range(STAGES - 1))
        self.ln_t = nn.ModuleList(nn.LayerNorm(dim) for _ in range(STAGES - 1))
        self.apply(_initialize)

    def text_independent_steps(self, steps: int) -> int:
        """The first third of the forward pass: before its end no words have reached the vision tower."""
        return steps // STAGES

    def after_stage(self, stage: int, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Patches (B, N, C) and words (B, L, D) with what they exchange added; class and inserted tokens stay."""
        patches = vision.body
        words = text.body
        # Reduce: v (B, N, dim), t (B, L, dim).
        v = on_grid(self.zoom_in[stage], patches, self.grids[stage])
        t = self.linear1[stage](words)
        # From the second stage on: LayerNorm(current + reduced features of the stage before).
        if stage:
            before_v, before_t = carry[self]
            v = self.ln_v[stage - 1](v + before_v)
            t = self.ln_t[stage - 1](t + before_t)
        carry[self] = (v, t)
        # v' = v * MHA(v, t, t) and t' = t * MHA(t, v, v), both from the same inputs.
        gated_v = self.fusion_v[stage](v, t)
        gated_t = self.fusion_t[stage](t, v)
        # Widen, and add.
        added_v = on_grid(self.zoom_out[stage], gated_v, self.grid)
        added_t = self.linear2[stage](gated_t)
        return vision.with_body(patches + added_v), text.with_body(words + added_t)


def on_grid(module: nn.Module, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Apply a module (B, D, H, W) -> (B, D', H', W') to tokens (B, H W, D), row by row -> (B, H' W', D')."""
    y: Tensor = module(tokens.transpose(1, 2).reshape(len(tokens), -1, *grid))
    return y.flatten(2).transpose(1, 2)


def _blocks(level: Level, dim: int, grid: tuple[int, int], last: bool) -> tuple[nn.Module, nn.Module]:
    """To `dim` and back on one grid; the last stage has its weights stored the other way round."""
    if last:
        return deconv_block(level.width, dim), conv_block(dim, level.width)
    return conv_block(level.width, dim), deconv_block(dim, level.width)


def _plain(level: Level, dim: int, grid: tuple[int, int], last: bool) -> tuple[nn.Module, nn.Module]:
    """To `dim` on the middle grid and back: kernel and stride are the ratio of the grids."""
    ratio = max(level.grid[0] // grid[0], grid[0] // level.grid[0])
    there, back = (nn.ConvTranspose2d, nn.Conv2d) if last else (nn.Conv2d, nn.ConvTranspose2d)
    return there(level.width, dim, ratio, ratio, bias=False), back(dim, level.width, ratio, ratio, bias=False)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
