"""Compacter's layers against an explicit sum of Kronecker products, and its one shared rule."""

import pytest
import torch
import torch.nn.functional as F

from barbench.errors import UsageError
from tests.methods.field import attached, site, tokens


@pytest.mark.parametrize("rank", [1, 3, None])
def test_an_adapter_is_made_of_kronecker_products(rank: int | None) -> None:
    compacter, _ = attached("compacter", rank=rank, width=12)
    layer, delta = compacter.layers["vision-1-mlp"], tokens()
    down, up = layer.down, layer.up

    def dense(linear: torch.nn.Module) -> torch.Tensor:
        factors = [list(f) for f in linear.factors]
        parts = factors[0] if rank is None else [left @ right for left, right in zip(*factors, strict=True)]
        return sum(torch.kron(rule, part.contiguous()) for rule, part in zip(compacter.rule, parts, strict=True))

    hidden = F.gelu(delta @ dense(down) + down.bias, approximate="tanh")
    expected = delta + hidden @ dense(up) + up.bias
    found = compacter.branch(site("vision", "mlp"), delta, delta, delta, {})
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_one_rule_is_counted_once_and_serves_both_towers() -> None:
    compacter, _ = attached("compacter", width=12)
    assert sum(p.shape == (4, 4, 4) for p in compacter.parameters()) == 1
    outputs = [compacter.branch(site(t, "mlp"), tokens(), tokens(), tokens(), {}) for t in ("vision", "text")]
    for output in outputs:
        assert torch.autograd.grad(output.sum(), compacter.rule, retain_graph=True)[0].any()


def test_widths_that_the_products_do_not_divide_are_refused() -> None:
    for options in ({"n": 5}, {"width": 6}):
        with pytest.raises(UsageError, match="divides not both"):
            attached("compacter", **options)
