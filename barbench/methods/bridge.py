"""The bridge of ETRIS (Xu et al., ICCV 2023): after each third of the depth both towers exchange in a narrow space."""

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
    """x * MHA(query=x, key=memory, value=memory).

    Args:
        dim: channels of both inputs.
        heads: attention heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(dim, heads)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Gate x by what it attends to.

        Args:
            x: (B, T, dim).
            memory: tokens of the other tower (B, S, dim).

        Returns:
            (B, T, dim).
        """
        return x * multihead(self.multihead_attn, x, memory, memory)


class Bridge(Component):
    """Patches and words are reduced to `dim`, gate each other by attention, are widened again and added to the tokens.

    The default of 128 gives the 1.39 M of Tables 4 and 5; the released default is 64. Padding takes part, as in the
    released code. Submodules are named as there, so that its checkpoints map one to one; initialised as there.

    Args:
        dim: channels of the narrow space.
        heads: attention heads, which must divide `dim`.

    Raises:
        UsageError: if `heads` does not divide `dim`.
    """

    label: ClassVar[str] = "Bridge"

    def __init__(self, dim: int = 128, heads: int = 8) -> None:
        super().__init__()
        if dim % heads:
            raise UsageError(f"the bridge's dim {dim} is not a multiple of its {heads} heads")
        self.dim, self.heads = dim, heads

    def attach(self, backbone: Backbone) -> None:
        """Allocate the maps of the three stages, and LayerNorms for the features that are carried to the last two."""
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

    def text_independent_steps(self, steps: int) -> int:
        """The first third of the forward pass: before its end no words have reached the vision tower."""
        return steps // STAGES

    def after_stage(self, stage: int, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Exchange between patches and words; the class token and inserted tokens stay as they are.

        Args:
            stage: 0, 1 or 2.
            vision: its body are the patches (B, N, C).
            text: its body are the words (B, L, D).
            carry: holds the reduced features of the stage before.

        Returns:
            Both streams, with the widened features added to patches and words.
        """
        patches, words = vision.body, text.body
        # Reduce: v (B, N, dim), t (B, L, dim).
        v = on_grid(self.zoom_in[stage], patches, self.grid)
        t = self.linear1[stage](words)
        # From the second stage on: LayerNorm(current + reduced features of the stage before).
        if stage:
            before_v, before_t = carry[self]
            v, t = self.ln_v[stage - 1](v + before_v), self.ln_t[stage - 1](t + before_t)
        carry[self] = (v, t)
        # v' = v * MHA(v, t, t) and t' = t * MHA(t, v, v), both from the same inputs.
        v, t = self.fusion_v[stage](v, t), self.fusion_t[stage](t, v)
        # Widen, and add.
        v = on_grid(self.zoom_out[stage], v, self.grid)
        return vision.with_body(patches + v), text.with_body(words + self.linear2[stage](t))


def on_grid(module: nn.Module, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Apply a map-to-map module to tokens.

    Args:
        module: (B, D, H, W) -> (B, D', H, W).
        tokens: (B, N, D), row by row.
        grid: H and W, N = H * W.

    Returns:
        (B, N, D').
    """
    y: Tensor = module(tokens.transpose(1, 2).reshape(len(tokens), -1, *grid))
    return y.flatten(2).transpose(1, 2)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
