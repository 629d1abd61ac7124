"""ConvPass: patches are convolved on their grid, every other token alone."""

import pytest
import torch
import torch.nn.functional as F

from barbench.errors import UsageError
from barbench.methods.convpass import ConvPass
from tests.methods.field import attached, site, tokens


def quick(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)


@pytest.mark.parametrize("front", [1, 4], ids=["class token", "and three inserted ones"])
def test_equals_the_formula(front: int) -> None:
    convpass, _ = attached("convpass", width=4, scale=0.3)
    one, xn = convpass.bypasses["vision-1-mlp"], tokens(count=36 + front)
    hidden = quick(F.linear(xn, one.down.weight, one.down.bias))
    convolved = torch.empty_like(hidden)
    for row, sample in enumerate(hidden):
        grid = sample[front:].reshape(6, 6, 4).permute(2, 0, 1)
        convolved[row, front:] = (
            F.conv2d(grid, one.conv.weight, one.conv.bias, padding=1).permute(1, 2, 0).reshape(36, 4)
        )
        for token in range(front):  # as a 1x1 map
            alone = F.conv2d(sample[token][:, None, None], one.conv.weight, one.conv.bias, padding=1)
            convolved[row, token] = alone[:, 0, 0]
    expected = 0.3 * F.linear(quick(convolved), one.up.weight, one.up.bias)
    found = convpass.branch(site("vision", "mlp"), xn, xn, torch.zeros_like(xn), {})
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_text_is_left_alone_and_the_kernel_starts_as_asked() -> None:
    convpass, _ = attached("convpass", spread=0.0)
    x = tokens()
    assert convpass.branch(site("text", "mlp"), x, x, x, {}) is x
    hidden = torch.randn(1, 8, 6, 6)
    torch.testing.assert_close(convpass.bypasses["vision-0-attn"].conv(hidden), hidden)
    other, _ = attached("convpass", spread=0.0, kernel="xavier", places="attn")
    assert set(other.bypasses) == {f"vision-{i}-attn" for i in range(6)}
    assert not torch.allclose(other.bypasses["vision-0-attn"].conv(hidden), hidden, atol=0.1)
    with pytest.raises(UsageError):
        ConvPass(width=0)
