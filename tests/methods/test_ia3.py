"""(IA)3 against encoders with gains folded into their weights, and peft where it is installed."""

import pytest
import torch

from barbench.models.hooks import Hooks
from barbench.models.walk import walk
from tests.methods.field import attached, blocks, gradients, site, tokens, traced
from tests.models.small import inputs, small


@pytest.mark.parametrize("kind", ["gelu", "quickgelu", "layer-scale"])
def test_equals_gains_folded_into_the_weights(kind: str) -> None:
    """k and v by rows of the fused map; the activation, behind the nonlinearity, by columns of the down map."""
    ia3, backbone = attached("ia3", kind)
    found, folded = traced(ia3, backbone), small(kind)
    for tower in ("vision", "text"):
        for i, block in enumerate(blocks(folded, tower)):
            k, v = ia3.maps[f"{tower}-{i}-attn-k"].gain, ia3.maps[f"{tower}-{i}-attn-v"].gain
            rows = torch.cat([torch.ones_like(k), k, v]).detach()
            block.attn.in_proj_weight.data *= rows[:, None]
            block.attn.in_proj_bias.data *= rows
            block.mlp.c_proj.weight.data *= ia3.maps[f"{tower}-{i}-mlp-act"].gain.detach()
    with torch.no_grad():
        expected = walk(folded.vision, folded.text, Hooks(), *inputs())
    for a, b in zip((*found.levels, found.words), (*expected.levels, expected.words), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_in_eva_the_gain_stands_behind_the_inner_norm() -> None:
    ia3, backbone = attached("ia3", "eva")
    folded = small("eva")
    for i, block in enumerate(folded.vision.visual.trunk.blocks):
        for role, rows in (("k", block.attn.k_proj), ("v", block.attn.v_proj)):
            gain = ia3.maps[f"vision-{i}-attn-{role}"].gain.detach()
            rows.weight.data *= gain[:, None]
            if rows.bias is not None:
                rows.bias.data *= gain
        block.mlp.fc2.weight.data *= ia3.maps[f"vision-{i}-mlp-act"].gain.detach()
    with torch.no_grad():
        expected = walk(folded.vision, folded.text, Hooks(), *inputs())
    torch.testing.assert_close(traced(ia3, backbone).levels[2], expected.levels[2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("feedforward", [False, True])
def test_equals_peft(feedforward: bool) -> None:
    peft = pytest.importorskip("peft", exc_type=ImportError)
    ia3, backbone = attached("ia3")
    role, branch = ("down", "mlp") if feedforward else ("k", "attn")
    frozen = backbone.vision.linear(1, role)
    gain = ia3.maps["vision-1-mlp-act" if feedforward else "vision-1-attn-k"].gain
    wrapped = torch.nn.Sequential(torch.nn.Linear(*reversed(frozen.weight.shape)))
    wrapped[0].weight.data, wrapped[0].bias.data = frozen.weight.detach().clone(), frozen.bias.detach().clone()
    config = peft.IA3Config(target_modules=["0"], feedforward_modules=["0"] if feedforward else [])
    theirs = peft.get_peft_model(wrapped, config)
    scale = theirs.base_model.model[0].ia3_l["default"]
    scale.data.copy_(gain.data.view_as(scale))
    x, at = tokens(width=frozen.weight.shape[1]), site("vision", branch)
    if feedforward:
        found = torch.nn.functional.linear(ia3.project(at, "act", x, x, {}), frozen.weight, frozen.bias)
    else:
        found = ia3.project(at, "k", x, torch.nn.functional.linear(x, frozen.weight, frozen.bias), {})
    expected = theirs(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weights = torch.linspace(-1, 1, found.numel()).view_as(found)
    other = torch.autograd.grad((expected * weights).sum(), scale)[0].flatten()
    torch.testing.assert_close(gradients(torch.nn.Module(), found, gain)[0], other, rtol=1e-4, atol=1e-4)
