"""The convolution of an upsampled map, against upsampling and convolving one after the other."""

import pytest
import torch
import torch.nn.functional as F

from barbench.models.efficient.upsample import convolve_upsampled


@pytest.mark.parametrize("grid", [(1, 1), (2, 1), (3, 5), (6, 4)])
def test_equals_upsampling_then_convolving_with_its_gradients(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, *grid).double().requires_grad_()
    weight = torch.randn(5, 4, 3, 3).double().requires_grad_()
    plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="bilinear"), weight, padding=1)
    cheap = convolve_upsampled(x.permute(0, 2, 3, 1), weight).permute(0, 3, 1, 2)
    torch.testing.assert_close(cheap, plain)
    seed = torch.randn_like(plain)
    for ours, theirs in zip(
        torch.autograd.grad(cheap, (x, weight), seed), torch.autograd.grad(plain, (x, weight), seed), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_saves_only_the_small_map_and_the_weights_for_the_backward_pass() -> None:
    x, weight = torch.randn(1, 8, 8, 16, requires_grad=True), torch.randn(32, 16, 3, 3, requires_grad=True)
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = convolve_upsampled(x, weight)
    matrices = 2 * 4 * (3 * 16 * 8)  # rows and columns of the upsampling
    assert sum(saved.values()) <= 4 * (x.numel() + weight.numel()) + 2 * matrices
    assert y.numel() > 8 * x.numel() / 2


def test_works_in_the_precision_of_autocast() -> None:
    x, weight = torch.randn(1, 3, 3, 4), torch.randn(2, 4, 3, 3)
    exact = convolve_upsampled(x, weight)
    with torch.autocast("cpu", torch.bfloat16):
        rough = convolve_upsampled(x, weight)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.1)


@pytest.mark.parametrize(("kind", "allowed"), [(torch.bfloat16, 4e-3), (torch.float16, 5e-4)])
def test_the_weights_gradient_over_many_samples_keeps_its_precision(kind: torch.dtype, allowed: float) -> None:
    """Summed over 32 samples in half precision, errors would add up to more than twice as much."""
    torch.manual_seed(0)
    x, weight = torch.randn(32, 7, 7, 16).to(kind), (torch.randn(24, 16, 3, 3) * 0.05).to(kind)
    seed = torch.randn(32, 14, 14, 24).to(kind)
    exact = weight.double().requires_grad_()
    wide = F.interpolate(x.double().permute(0, 3, 1, 2), scale_factor=2, mode="bilinear")
    plain = F.conv2d(wide, exact, padding=1)
    (expected,) = torch.autograd.grad(plain, exact, seed.double().permute(0, 3, 1, 2))
    ours = weight.requires_grad_()
    (found,) = torch.autograd.grad(convolve_upsampled(x, ours), ours, seed)
    assert found.dtype == kind
    assert float((found.double() - expected).norm() / expected.norm()) < allowed
