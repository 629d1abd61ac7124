"""Triton's kernels on CPU tensors, in a process of its own: TRITON_INTERPRET=1 python -m tests.models.interpreted"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.models.efficient.flows import planar_flow
from barbench.models.efficient.fused import fusable
from barbench.models.efficient.kernels import choose_kernels
from barbench.models.efficient.norms import _Norm, layer_norm


def flow(x: Tensor, mu: Tensor, log_sigma: Tensor, gamma: Tensor, beta: Tensor, lam: Tensor) -> Tensor:
    """Eq. 1, one transform after the other."""
    z = mu + log_sigma.exp() * x
    for g, b, move in zip(gamma, beta, lam, strict=True):
        z = z + torch.tanh(z @ g + b)[..., None] * move
    return z


def check_flow() -> None:
    """Values and gradients in float64, fp32 and bf16, for widths and lengths that are no powers of two."""
    for kind, allowed in ((torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        for width, length in ((24, 3), (16, 1), (20, 4)):
            weights = kind if kind == torch.float64 else torch.float32
            shapes = ((width,), (width,), (length, width), (length,), (length, width))
            x = torch.randn(2, 5, width).to(kind).requires_grad_()
            rest = [(torch.randn(shape, dtype=weights) * 0.2).requires_grad_() for shape in shapes]
            exact = [t.detach().double().requires_grad_() for t in (x, *rest)]
            y, expected = planar_flow(x, *rest), flow(*exact)
            assert y.dtype == kind
            seed = torch.randn_like(y)
            found = torch.autograd.grad(y, (x, *rest), seed)
            for ours, theirs in zip(
                (y, *found), (expected, *torch.autograd.grad(expected, exact, seed.double())), strict=True
            ):
                assert float((ours.double() - theirs).norm() / theirs.norm()) < allowed, (kind, width, length)


def check_layouts() -> None:
    """Tokens that are a transposed map, and a gradient that is one number, expanded."""
    x, weight = torch.randn(1, 20, 6, dtype=torch.float64).transpose(1, 2), torch.randn(20, dtype=torch.float64)
    rest = [torch.randn(shape, dtype=torch.float64) * 0.2 for shape in ((20,), (20,), (2, 20), (2,), (2, 20))]
    tokens = x.detach().requires_grad_()
    for ours, theirs in (
        (planar_flow(tokens, *rest), flow(tokens, *rest)),
        (_Norm.apply(tokens, weight, weight, 1e-5, torch.float64), F.layer_norm(tokens, (20,), weight, weight)),
    ):
        torch.testing.assert_close(ours, theirs)
        found, expected = (torch.autograd.grad(y.sum(), tokens)[0] for y in (ours, theirs))
        torch.testing.assert_close(found, expected)


def check_norm() -> None:
    """In float64 against torch's own; in bf16 against float64, as near as torch's that goes through fp32."""
    module = nn.LayerNorm(20).double()
    nn.init.normal_(module.weight)
    x = (torch.randn(3, 5, 20, dtype=torch.float64) * 3 + 2).requires_grad_()
    inputs_ = (x, module.weight, module.bias)
    y, expected = _Norm.apply(x, module.weight, module.bias, module.eps, torch.float64), module(x)
    seed = torch.randn_like(y)
    torch.testing.assert_close(y, expected)
    for ours, theirs in zip(
        torch.autograd.grad(y, inputs_, seed), torch.autograd.grad(expected, inputs_, seed), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    low, tokens = nn.LayerNorm(48), torch.randn(40, 48) * 2 + 1
    exact = F.layer_norm(tokens.double(), (48,))
    with torch.autocast("cpu", torch.bfloat16):
        short = layer_norm(low, tokens)
    assert short.dtype == torch.bfloat16
    # Rounded once. The interpreter cuts bits off where a GPU rounds to the nearest, which doubles the error.
    rounded = exact.bfloat16().double()
    assert float((short.double() - exact).norm()) < 2.2 * float((rounded - exact).norm())


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    choose_kernels("fused")
    assert fusable(torch.empty(0))
    for check in (check_flow, check_layouts, check_norm):
        check()
        print(check.__name__.removeprefix("check_"))
