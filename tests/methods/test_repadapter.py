"""RepAdapter against its own fold: the maps behind it take it in."""

import pytest
import torch

from barbench.errors import UsageError
from barbench.methods.repadapter import RepAdapter
from barbench.models.hooks import Hooks
from barbench.models.walk import walk
from tests.methods.field import attached, blocks, traced
from tests.models.small import inputs, small


def test_equals_encoders_whose_maps_took_it_in() -> None:
    """W (xn + s (B (A xn + a) + b)) + c = W (I + s B A) xn + s W (B a + b) + c, at q, k, v and at up."""
    adapter, backbone = attached("repadapter", width=6, groups=3 - 1, scale=0.7)
    found, folded = traced(adapter, backbone), small("quickgelu")
    for tower in ("vision", "text"):
        for i, block in enumerate(blocks(folded, tower)):
            maps = ((block.attn.in_proj_weight, block.attn.in_proj_bias), (block.mlp.c_fc.weight, block.mlp.c_fc.bias))
            for branch, (weight, bias) in zip(("attn", "mlp"), maps, strict=True):
                one = adapter.maps[f"{tower}-{i}-{branch}-norm"]
                up = torch.block_diag(*one.up.detach())  # group i of the hidden units writes part i of the channels
                shift = 0.7 * (up @ one.down.bias.detach() + one.bias.detach())
                bias.data += weight.data @ shift
                weight.data += 0.7 * weight.data @ up @ one.down.weight.detach()
    with torch.no_grad():
        expected = walk(folded.vision, folded.text, Hooks(), *inputs())
    for a, b in zip((*found.levels, found.words), (*expected.levels, expected.words), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5 * float(b.abs().max()))


def test_groups_divide() -> None:
    with pytest.raises(UsageError):
        RepAdapter(width=7)
    with pytest.raises(UsageError, match="3 groups"):
        attached("repadapter", width=6, groups=3)
