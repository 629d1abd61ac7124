"""Houlsby, Pfeiffer and AdaptFormer, written out with open_clip's own blocks."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from barbench.errors import UsageError
from barbench.methods.adapter import Adapter
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from tests.methods.field import attached, blocks, traced
from tests.models.small import inputs, small

CASES = {
    "houlsby": {"width": 5},
    "pfeiffer": {"width": 5, "places": "mlp", "act": "relu"},
    "adaptformer": {"width": 5, "places": "mlp", "reads": "x", "act": "relu", "init": "zero", "scale": 0.1},
    "parallel after the norm": {"width": 5, "reads": "xn", "act": "silu"},
}
ACTS = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_formula_around_open_clips_blocks(case: str) -> None:
    adapter, backbone = attached("adapter", **CASES[case])
    found, act = traced(adapter, backbone), ACTS[CASES[case].get("act", "gelu")]

    def added(key: str, x: Tensor, xn: Tensor, delta: Tensor) -> Tensor:
        if key not in adapter.adapters:
            return delta
        one = adapter.adapters[key]
        seen = {"delta": delta, "x": x, "xn": xn}[adapter.reads]
        hidden = act(seen @ one.down.weight.T + one.down.bias)
        return delta + adapter.scale * (hidden @ one.up.weight.T + one.up.bias)

    with torch.no_grad():
        x = backbone.vision.embed(inputs()[0]).tokens
        for i, block in enumerate(blocks(backbone, "vision")):
            xn = block.ln_1(x)
            x = x + added(f"vision-{i}-attn", x, xn, block.attention(xn))
            xn = block.ln_2(x)
            x = x + added(f"vision-{i}-mlp", x, xn, block.mlp(xn))
        expected = backbone.vision.finish(x[:, 1:])
    torch.testing.assert_close(found.levels[2].flatten(2).transpose(1, 2), expected, rtol=1e-4, atol=1e-4)


def test_norms_train_on_demand_and_in_the_chosen_towers_only() -> None:
    (spec,) = resolve("houlsby")
    tuned = build_segmenter(spec, small(), options={"adapter.norms": True, "adapter.towers": "text"}).tuned_parameters()
    encoders = {n for n in tuned if n.startswith(("vision.", "text."))}
    assert encoders
    assert all(n.startswith("text.") and ".ln_" in f".{n}" for n in encoders)
    assert {"text.ln_final.weight", "text.transformer.resblocks.0.ln_1.bias"} <= encoders


def test_no_start_has_two_zero_matrices() -> None:
    """As released, VPT's Pfeiffer baseline has: neither matrix would ever get a gradient."""
    for init in ("normal", "zero"):
        adapter, _ = attached("adapter", spread=0.0, init=init)
        for one in adapter.adapters.values():
            assert one.down.weight.any()
            assert one.up.weight.any() == (init == "normal")
            assert not one.down.bias.any()


def test_widths_by_tower_and_what_cannot_be() -> None:
    adapter, _ = attached("adapter", width=6, text_width=2)
    assert (adapter.adapters["vision-0-mlp"].down.out_features, adapter.adapters["text-0-mlp"].down.out_features) == (
        6,
        2,
    )
    for options in ({"width": 0}, {"places": ()}, {"towers": ()}):
        with pytest.raises(UsageError):
            Adapter(**options)
