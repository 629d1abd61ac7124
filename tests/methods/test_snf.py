"""Flows against Eq. 1, one transform after the other."""

import pytest
import torch

from barbench.errors import UsageError
from barbench.methods.snf import SNF, HadamardFlow, PlanarFlow
from tests.models.small import small

WIDTH, LENGTH = 6, 4


def shaken(flow: torch.nn.Module) -> torch.nn.Module:
    """Parameters far from their initial values."""
    torch.manual_seed(0)
    for p in flow.parameters():
        p.data = torch.randn_like(p) * 0.7
    return flow.double()


def test_planar_flow_is_equation_1_with_an_inner_product() -> None:
    flow, x = shaken(PlanarFlow(WIDTH, LENGTH)), torch.randn(2, 5, WIDTH).double()
    z = flow.mu + torch.exp(flow.log_sigma) * x
    for j in range(LENGTH):
        inner = (z * flow.gamma[j]).sum(-1, keepdim=True)
        z = z + flow.lam[j] * torch.tanh(inner + flow.beta[j])
    torch.testing.assert_close(flow(x), z)


def test_hadamard_flow_is_equation_1_elementwise() -> None:
    flow, z = shaken(HadamardFlow(WIDTH, LENGTH)), torch.randn(2, 5, WIDTH).double()
    out = flow(z)
    for j in range(LENGTH):
        z = z + flow.lam[j] * torch.tanh(flow.gamma[j] * z + flow.beta[j])
    torch.testing.assert_close(out, z)


@pytest.mark.parametrize("kind", [PlanarFlow, HadamardFlow])
def test_flow_starts_close_to_the_identity(kind: type[PlanarFlow]) -> None:
    """Each of J transforms moves a channel by at most |lambda| <= 0.01, whatever the input."""
    x = torch.randn(4, 50, 64) * 30
    moved = (kind(64, LENGTH)(x) - x).abs().max().item()
    assert 0 < moved <= LENGTH * 0.01 + 1e-5


def test_gradients_of_the_merged_form_are_those_of_the_chain() -> None:
    flow = shaken(PlanarFlow(WIDTH, LENGTH))
    x = torch.randn(2, 3, WIDTH).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: flow(t), (x,))


def test_towers_and_counts() -> None:
    backbone = small("layer-scale")  # vision 64 wide, text 48 wide, 6 blocks each
    count = {}
    for towers in (("vision",), ("text",), ("vision", "text")):
        for flow in ("planar", "hadamard"):
            snf = SNF(towers, flow)  # type: ignore[arg-type]
            snf.attach(backbone)
            count[towers, flow] = sum(p.numel() for p in snf.parameters())
    assert count[("vision",), "planar"] == 6 * 2 * (10 * 64 + 4)
    assert count[("text",), "planar"] == 6 * 2 * (10 * 48 + 4)
    assert count[("vision", "text"), "hadamard"] == 6 * 2 * 12 * (64 + 48)
    with pytest.raises(UsageError):
        SNF(length=0)
