"""ConvPass: a narrow convolution over the patches beside each branch (Jie & Deng 2022)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from barbench.methods.base import Component
from barbench.methods.domains import Branches, DropoutRate, Scale, Size, checked
from barbench.methods.sites import per_site
from barbench.models.efficient.activations import quick_gelu
from barbench.models.efficient.dropout import Dropout
from barbench.models.hooks import Carry
from barbench.models.stream import Site
from barbench.models.towers.base import Backbone, Tower


class Bypass(nn.Module):
    """s U drop(q(K * q(L xn))), q = QuickGELU, K a 3x3 convolution on the patches' grid.

    What precedes the patches, the class token and inserted tokens, is convolved one by one as a 1x1 map: of K, padded
    with zeros, the centre alone counts. L Xavier, U and biases zero, K the identity at its centre or Xavier.
    """

    def __init__(
        self, width: int, hidden: int, grid: tuple[int, int], kernel: str, scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.grid = grid
        self.scale = scale
        self.dropout = Dropout(dropout)
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        self.conv = nn.Conv2d(hidden, hidden, 3, padding=1)
        # U is zero: the identity at the start.
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.up.weight)
        for layer in (self.down, self.up, self.conv):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        if kernel == "xavier":
            nn.init.xavier_uniform_(self.conv.weight)
        else:
            nn.init.dirac_(self.conv.weight)

    def forward(self, xn: Tensor) -> Tensor:
        """(B, T, d), the last rows x columns tokens being the patches -> (B, T, d)."""
        hidden = quick_gelu(self.down(xn))
        # The patches on their grid.
        front = xn.shape[1] - self.grid[0] * self.grid[1]
        grid = hidden[:, front:].transpose(1, 2).reshape(len(xn), -1, *self.grid)
        patches = self.conv(grid).flatten(2).transpose(1, 2)
        # The class token and inserted tokens, each by itself.
        center = self.conv.weight[:, :, 1, 1]
        single = nn.functional.linear(hidden[:, :front], center, self.conv.bias)
        hidden = self.dropout(quick_gelu(torch.cat([single, patches], 1)))
        y: Tensor = self.up(hidden)
        return y * self.scale


class ConvPass(Component):
    """delta <- delta + bypass(xn) on both branches of every vision block, or on attention alone. Identity at the start.

    Vision only: words have no grid, and a convolution over them would break the causal mask.

    Args:
        width: h hidden channels.
        places: `attn`, `mlp` or both.
        kernel: `identity` at its centre, or `xavier`.
        scale: s, which the original chooses for each task among 0.01 .. 100.
        dropout: after the second nonlinearity, in training.
    """

    label: ClassVar[str] = "ConvPass"
    crosses: ClassVar[bool] = False  # it sees the vision tower alone

    @checked
    def __init__(
        self,
        width: Size = 8,
        places: Branches = ("attn", "mlp"),
        kernel: Literal["identity", "xavier"] = "identity",
        scale: Scale = 1.0,
        dropout: DropoutRate = 0.1,
    ) -> None:
        super().__init__()
        self.width = width
        self.branches = tuple(places)
        self.kernel = kernel
        self.scale = scale
        self.dropout = dropout

    def attach(self, backbone: Backbone) -> None:
        """Allocate one bypass per vision branch of `places`, for the tower's grid."""
        grid = backbone.vision.grid

        def make(tower: Tower) -> Bypass:
            return Bypass(tower.width, self.width, grid, self.kernel, self.scale, self.dropout)

        self.bypasses = per_site(backbone, make, ("vision",), self.branches)

    def branch(self, site: Site, x: Tensor, xn: Tensor, delta: Tensor, carry: Carry) -> Tensor:
        """delta (B, T, D) plus the bypass's output for xn (B, T, D)."""
        if site.key not in self.bypasses:
            return delta
        added: Tensor = self.bypasses[site.key](xn)
        return delta + added
