"""Compacter: adapters whose matrices are sums of Kronecker products (Karimi Mahabadi et al., NeurIPS 2021)."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from barbench.errors import UnfitBackbone
from barbench.methods.base import Component
from barbench.methods.domains import BOTH, Branches, Size, Towers, checked
from barbench.methods.sites import norm_names, per_site
from barbench.models.hooks import Carry
from barbench.models.stream import Site, TowerName
from barbench.models.towers.base import Backbone, Tower

RULE_STD = 1e-4
"""Standard deviation of the rule's start."""


class KroneckerLinear(nn.Module):
    """y = x H + b with H = sum_i R_i (x) W_i, (in, out): x multiplies from the left.

    The rule R (n, n, n) is given at each call, for it is shared. W_i (in / n, out / n) is l_i r_i of rank k, or whole
    where `rank` is None. Xavier-uniform with gain sqrt 2, bias zero.
    """

    def __init__(self, inputs: int, outputs: int, n: int, rank: int | None) -> None:
        super().__init__()
        rows = inputs // n
        columns = outputs // n
        shapes = [(rows, columns)] if rank is None else [(rows, rank), (rank, columns)]
        self.factors = nn.ParameterList(nn.Parameter(torch.empty(n, *shape)) for shape in shapes)
        for factor in self.factors:
            for matrix in factor:
                nn.init.xavier_uniform_(matrix, gain=math.sqrt(2))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, rule: Tensor) -> Tensor:
        """x (B, T, in), rule (n, n, n) -> (B, T, out)."""
        w = self.factors[0]
        if len(self.factors) == 2:
            w = w @ self.factors[1]
        # H = sum_i R_i (x) W_i.
        h = torch.einsum("iac,ikp->akcp", rule, w).reshape(x.shape[-1], -1)
        return x @ h.to(x.dtype) + self.bias.to(x.dtype)


class CompacterLayer(nn.Module):
    """Down, GELU (its tanh form, as in the original), up."""

    def __init__(self, width: int, hidden: int, n: int, rank: int | None) -> None:
        super().__init__()
        self.down = KroneckerLinear(width, hidden, n, rank)
        self.up = KroneckerLinear(hidden, width, n, rank)

    def forward(self, x: Tensor, rule: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        hidden = nn.functional.gelu(self.down(x, rule), approximate="tanh")
        y: Tensor = self.up(hidden, rule)
        return y


class Compacter(Component):
    """delta <- delta + adapter(delta) after attention and MLP, or after the MLP alone (Compacter++): near identity.

    One rule for all adapters of the model, in both towers: as the original, and registered once. Gradients start at
    about 1e-4 of an ordinary adapter's: it wants a high learning rate (`adapter_lr`), and no clipping.

    Args:
        n: how many Kronecker products; divides the widths of towers and adapters.
        rank: k of each W_i; None: whole matrices (for budgets of about a million parameters and more).
        reduction: the adapter's width is the tower's divided by this.
        width: the adapter's width in the vision tower in place of `reduction`.
        text_width: the same in the text tower; None: as `width` says, in proportion to the towers' widths.
        places: `attn`, `mlp` or both.
        norms: whether all LayerNorms of the chosen towers train as well, as the original's do.
        towers: which towers are tuned.
    """

    label: ClassVar[str] = "Compacter"
    crosses: ClassVar[bool] = False  # an adapter sees one token

    @checked
    def __init__(
        self,
        n: Size = 4,
        rank: Size | None = 1,
        reduction: Size = 32,
        width: Size | None = None,
        text_width: Size | None = None,
        places: Branches = ("attn", "mlp"),
        norms: bool = False,
        towers: Towers = BOTH,
    ) -> None:
        super().__init__()
        self.n = n
        self.rank = rank
        self.reduction = reduction
        self.width = width
        self.text_width = text_width
        self.branches = tuple(places)
        self.norms = norms
        self.towers = frozenset(towers)

    def attach(self, backbone: Backbone) -> None:
        """Allocate the shared rule and one layer per branch of `places`.

        Args:
            backbone: of the segmenter.

        Raises:
            UnfitBackbone: if n does not divide the widths of tower and adapter.
        """
        n = self.n

        def make(tower: Tower) -> CompacterLayer:
            width = tower.width
            hidden = self._hidden(tower.name, width, backbone.vision.width)
            if width % n or hidden % n:
                raise UnfitBackbone(f"Compacter: {n} divides not both {width}, the {tower.name} width, and {hidden}")
            return CompacterLayer(width, hidden, n, self.rank)

        self.layers = per_site(backbone, make, self.towers, self.branches)
        self.rule = nn.Parameter(torch.randn(n, n, n) * RULE_STD)
        self._norms = norm_names(backbone, self.towers) if self.norms else set[str]()

    def _hidden(self, name: TowerName, width: int, vision: int) -> int:
        """The adapter's width in a tower; by `reduction` at least n, to the next multiple of n."""
        if name == "text" and self.text_width is not None:
            return self.text_width
        if self.width is None:
            multiple = max(1, round(width / self.reduction / self.n))
            return multiple * self.n
        if name == "vision":
            return self.width
        multiple = max(1, self.width * width // vision // self.n)
        return multiple * self.n

    def trains(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether the parameter is one of the chosen towers' LayerNorms, where these train."""
        return name in self._norms

    def branch(self, site: Site, x: Tensor, xn: Tensor, delta: Tensor, carry: Carry) -> Tensor:
        """delta (B, T, D) plus the adapter's output for it (B, T, D)."""
        if site.key not in self.layers:
            return delta
        added: Tensor = self.layers[site.key](delta, self.rule)
        return delta + added
