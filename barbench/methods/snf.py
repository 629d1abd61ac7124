"""SNF: the shortcuts are adapted by normalizing flows (Eq. 1, A.2; Wang et al., CVPR 2023)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from barbench.methods.base import Component
from barbench.methods.domains import BOTH, Size, Towers, checked
from barbench.methods.sites import per_site
from barbench.models.efficient.flows import planar_flow
from barbench.models.stream import Site
from barbench.models.towers.base import Backbone

INIT_RANGE = 0.01
"""Parameters of a flow start uniformly within plus and minus this."""


def _uniform(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape).uniform_(-INIT_RANGE, INIT_RANGE))


class PlanarFlow(nn.Module):
    """An elementwise affine map, then J planar transforms z + lambda_j tanh(gamma_j . z + beta_j).

    2d + J(2d + 1) parameters: `mu`, `log_sigma` (d); `gamma`, `lam` (J, d); `beta` (J). All start within +-0.01, the
    affine map at the identity, so that each channel starts within J * 0.01 of its input. No log-Jacobian enters the
    objective (A.2).
    """

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(width))
        self.log_sigma = nn.Parameter(torch.zeros(width))
        self.gamma = _uniform(length, width)
        self.beta = _uniform(length)
        self.lam = _uniform(length, width)

    def forward(self, x: Tensor) -> Tensor:
        """F = f_J o ... o f_1 after the affine map (Eq. 1, 2), of tokens (B, T, d)."""
        return planar_flow(x, self.mu, self.log_sigma, self.gamma, self.beta, self.lam)


class HadamardFlow(nn.Module):
    """J transforms z + lambda_j * tanh(gamma_j * z + beta_j), elementwise: 3Jd parameters.

    The other reading of Eq. 1.
    """

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.gamma = _uniform(length, width)
        self.beta = _uniform(length, width)
        self.lam = _uniform(length, width)

    def forward(self, z: Tensor) -> Tensor:
        """F = f_J o ... o f_1 (Eq. 1, 2), of tokens (B, T, d)."""
        for gamma, beta, lam in zip(self.gamma, self.beta, self.lam, strict=True):
            z = torch.addcmul(z, lam, torch.addcmul(beta, gamma, z).tanh())
        return z


class SNF(Component):
    """y = F(x) + f(x) on the attention and MLP branch of every block of `towers`.

    Args:
        towers: whose shortcuts are adapted.
        flow: Eq. 1 calls "." the Hadamard product, yet writes gamma transposed: `planar` (an inner product) is the
            reading that meets the printed parameter counts, `hadamard` the other one.
        length: transforms J per flow; 4 in A.2 ("SNF-deep").
    """

    label: ClassVar[str] = "SNF"
    crosses: ClassVar[bool] = False  # a flow sees one token

    @checked
    def __init__(self, towers: Towers = BOTH, flow: Literal["planar", "hadamard"] = "planar", length: Size = 4) -> None:
        super().__init__()
        self.towers = frozenset(towers)
        self.flow = flow
        self.length = length

    def attach(self, backbone: Backbone) -> None:
        """One flow per residual branch of `towers`."""
        flow = PlanarFlow if self.flow == "planar" else HadamardFlow
        self.flows = per_site(backbone, lambda tower: flow(tower.width, self.length), self.towers)

    def shortcut(self, site: Site, x: Tensor) -> Tensor:
        """The flow F(x) of Eq. 2 and 3 in place of x: (B, T, d) -> (B, T, d)."""
        return self.flows[site.key](x) if site.tower in self.towers else x
