"""SSF against encoders with scales and shifts folded into their weights."""

import pytest
import torch

from barbench.models.hooks import Hooks
from barbench.models.walk import walk
from tests.methods.field import attached, blocks, traced
from tests.models.small import inputs, small


@pytest.mark.parametrize("ends", [True, False])
def test_equals_encoders_with_scales_and_shifts_folded_in(ends: bool) -> None:
    ssf, backbone = attached("ssf", ends=ends)
    found, folded = traced(ssf, backbone), small("quickgelu")

    def fold(key: str, weight: torch.Tensor, bias: torch.Tensor) -> None:
        gamma, beta = ssf.maps[key].gamma.detach(), ssf.maps[key].beta.detach()
        weight.data *= gamma if weight.ndim == 1 else gamma[:, None]
        bias.data.copy_(bias.data * gamma + beta)

    for tower in ("vision", "text"):
        for i, block in enumerate(blocks(folded, tower)):
            for role, norm in (("attn", block.ln_1), ("mlp", block.ln_2)):
                fold(f"{tower}-{i}-{role}-norm", norm.weight, norm.bias)
            parts = zip("qkv", block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3), strict=True)
            for role, weight, bias in parts:
                fold(f"{tower}-{i}-attn-{role}", weight, bias)
            fold(f"{tower}-{i}-attn-out", block.attn.out_proj.weight, block.attn.out_proj.bias)
            fold(f"{tower}-{i}-mlp-up", block.mlp.c_fc.weight, block.mlp.c_fc.bias)
            fold(f"{tower}-{i}-mlp-down", block.mlp.c_proj.weight, block.mlp.c_proj.bias)
    if ends:
        visual = folded.vision.visual
        for key, norm in (
            ("vision--1-stem-norm", visual.ln_pre),
            ("vision-6-end-norm", visual.ln_post),
            ("text-6-end-norm", folded.text.ln_final),
        ):
            fold(key, norm.weight, norm.bias)
    with torch.no_grad():
        expected = walk(folded.vision, folded.text, Hooks(), *inputs())
    for a, b in zip((*found.levels, found.words), (*expected.levels, expected.words), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5 * float(b.abs().max()))


def test_the_shift_of_the_keys_is_inert() -> None:
    ssf, backbone = attached("ssf")
    before = traced(ssf, backbone).levels[2]
    ssf.maps["vision-1-attn-k"].beta.data += 1.0
    torch.testing.assert_close(traced(ssf, backbone).levels[2], before, rtol=1e-4, atol=1e-4)
    ssf.maps["vision-1-attn-q"].beta.data += 1.0
    assert not torch.allclose(traced(ssf, backbone).levels[2], before, rtol=1e-2, atol=1e-2)


def test_no_spread_is_the_identity() -> None:
    ssf, backbone = attached("ssf", spread=0.0)  # the helper's; the component's own start is put to zero below
    for scale in ssf.maps.values():
        scale.gamma.data.fill_(1)
        scale.beta.data.zero_()
    plain = walk(backbone.vision, backbone.text, Hooks(), *inputs())
    torch.testing.assert_close(traced(ssf, backbone).levels[2], plain.levels[2], rtol=1e-5, atol=1e-5)
