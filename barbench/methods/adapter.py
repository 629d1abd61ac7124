"""Bottleneck adapters on what a branch adds: Houlsby et al. 2019, Pfeiffer et al. 2020, AdaptFormer (Chen et al.
2022)."""

import math
from typing import ClassVar, Literal

from torch import Tensor, nn

from barbench.methods.base import Component
from barbench.methods.domains import BOTH, Activation, Branches, DropoutRate, Scale, Size, Towers, checked
from barbench.methods.sites import norm_names, per_site
from barbench.models.efficient.dropout import Dropout
from barbench.models.hooks import Carry
from barbench.models.stream import Site
from barbench.models.towers.base import Backbone, Tower

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}


class Bottleneck(nn.Module):
    """s (U drop(act(L x + a)) + b) with L (m, d), U (d, m); 2 d m + m + d parameters.

    init: `normal`: both matrices truncated normal of sd 1e-3, so near zero; `zero`: L Kaiming-uniform with a = sqrt 5,
    U zero. Never both zero: neither would ever get a gradient. Biases start at zero.
    """

    def __init__(
        self, width: int, hidden: int, act: Activation, init: Literal["normal", "zero"], scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        self.scale = scale
        self.act = ACTIVATIONS[act]()
        self.dropout = Dropout(dropout)
        if init == "zero":
            nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
            nn.init.zeros_(self.up.weight)
        else:
            for linear in (self.down, self.up):
                nn.init.trunc_normal_(linear.weight, std=1e-3, a=-2e-3, b=2e-3)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        hidden = self.dropout(self.act(self.down(x)))
        y: Tensor = self.up(hidden)
        return y if self.scale == 1 else y * self.scale


class Adapter(Component):
    """delta <- delta + bottleneck(input) on the branches `places` of every block.

    By default Houlsby's: after attention and after the MLP. The original sits in a post-norm transformer; in a pre-norm
    one the adapter sees what the branch adds, not the sum with the shortcut.

    Args:
        places: `attn`, `mlp` or both.
        width: m, the bottleneck's units.
        text_width: m in the text tower; None: `width`.
        reads: `delta`: what the branch adds (in series); `x`: the branch's input before its norm (in parallel, as in
            AdaptFormer); `xn`: after its norm.
        act: the nonlinearity.
        init: `zero` starts at the identity exactly, `normal` near it: see `Bottleneck`.
        scale: s, what the bottleneck's output is multiplied by.
        dropout: after the nonlinearity, in training.
        norms: whether all LayerNorms of the chosen towers train as well, as Houlsby et al. did.
        towers: which towers are tuned.
    """

    label: ClassVar[str] = "Adapter"
    crosses: ClassVar[bool] = False  # an adapter sees one token

    @checked
    def __init__(
        self,
        places: Branches = ("attn", "mlp"),
        width: Size = 64,
        text_width: Size | None = None,
        reads: Literal["delta", "x", "xn"] = "delta",
        act: Activation = "gelu",
        init: Literal["normal", "zero"] = "normal",
        scale: Scale = 1.0,
        dropout: DropoutRate = 0.0,
        norms: bool = False,
        towers: Towers = BOTH,
    ) -> None:
        super().__init__()
        self.widths = {"vision": width, "text": width if text_width is None else text_width}
        self.branches = tuple(places)
        self.towers = frozenset(towers)
        self.reads = reads
        self.act = act
        self.init = init
        self.scale = scale
        self.dropout = dropout
        self.norms = norms

    def attach(self, backbone: Backbone) -> None:
        """Allocate one bottleneck per branch of `places`, with each tower's number of units."""
        self.adapters = per_site(backbone, self._bottleneck, self.towers, self.branches)
        self._norms = norm_names(backbone, self.towers) if self.norms else set[str]()

    def _bottleneck(self, tower: Tower) -> Bottleneck:
        return Bottleneck(tower.width, self.widths[tower.name], self.act, self.init, self.scale, self.dropout)

    def trains(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether the parameter is one of the chosen towers' LayerNorms, where these train."""
        return name in self._norms

    def branch(self, site: Site, x: Tensor, xn: Tensor, delta: Tensor, carry: Carry) -> Tensor:
        """delta plus the bottleneck's output for what it `reads`; all (B, T, D)."""
        if site.key not in self.adapters:
            return delta
        inputs = {"delta": delta, "x": x, "xn": xn}
        added: Tensor = self.adapters[site.key](inputs[self.reads])
        return delta + added
