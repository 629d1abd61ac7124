"""The bridge of ETRIS (Xu et al., ICCV 2023): after each third of the depth both towers meet in a narrow space."""

from typing import ClassVar

from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.methods.base import Component
from barbench.models.attention import multihead
from barbench.models.hooks import Carry
from barbench.models.neck import conv_block, deconv_block
from barbench.models.stream import Stream
from barbench.models.towers.base import Backbone
from barbench.models.walk import STAGES


class Interactor(nn.Module):
    """x * MHA(query=x, key=memory, value=memory)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(dim, heads)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """x (B, T, dim), memory (B, S, dim) -> (B, T, dim)."""
        return x * multihead(self.multihead_attn, x, memory, memory)


class Bridge(Component):
    """Patches and words are reduced to `dim`, gate each other by attention, are widened again and added to the streams.

    `dim` 128 gives the 1.39 M of Tables 4 and 5; the released default is 64. The padding takes part, as in the
    released code. Submodules are named as there, so that its checkpoints map one to one; initialised as there.
    """

    label: ClassVar[str] = "Bridge"

    def __init__(self, dim: int = 128, heads: int = 8) -> None:
        super().__init__()
        if dim % heads:
            raise UsageError(f"the bridge's dim {dim} is not a multiple of its {heads} heads")
        self.dim, self.heads = dim, heads

    def attach(self, backbone: Backbone) -> None:
        dim, stages = self.dim, range(STAGES)
        wide, words, last = backbone.vision.width, backbone.text.width, STAGES - 1
        self.zoom_in = nn.ModuleList(deconv_block(wide, dim) if s == last else conv_block(wide, dim) for s in stages)
        self.zoom_out = nn.ModuleList(conv_block(dim, wide) if s == last else deconv_block(dim, wide) for s in stages)
        self.linear1 = nn.ModuleList(nn.Linear(words, dim) for _ in stages)
        self.linear2 = nn.ModuleList(nn.Linear(dim, words) for _ in stages)
        self.fusion_v = nn.ModuleList(Interactor(dim, self.heads) for _ in stages)
        self.fusion_t = nn.ModuleList(Interactor(dim, self.heads) for _ in stages)
        self.ln_v = nn.ModuleList(nn.LayerNorm(dim) for _ in range(last))
        self.ln_t = nn.ModuleList(nn.LayerNorm(dim) for _ in range(last))
        self.grid = backbone.vision.grid
        self.apply(_initialise)

    def text_free(self, steps: int) -> int:
        return steps // STAGES

    def after_stage(self, stage: int, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        patches, words = vision.body, text.body
        v = on_grid(self.zoom_in[stage], patches, self.grid)
        t = self.linear1[stage](words)
        if stage:
            before_v, before_t = carry[self]
            v, t = self.ln_v[stage - 1](v + before_v), self.ln_t[stage - 1](t + before_t)
        carry[self] = (v, t)
        v, t = self.fusion_v[stage](v, t), self.fusion_t[stage](t, v)
        v = on_grid(self.zoom_out[stage], v, self.grid)
        return vision.with_body(patches + v), text.with_body(words + self.linear2[stage](t))


def on_grid(module: nn.Module, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Apply a map-to-map module to tokens (B, N, D) that lie on `grid` -> (B, N, D')."""
    y: Tensor = module(tokens.transpose(1, 2).reshape(len(tokens), -1, *grid))
    return y.flatten(2).transpose(1, 2)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
