"""Selections by name and kind of module, and what a key's bias does."""

import pytest
import torch
from torch import nn

from barbench.errors import UsageError
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.methods.select import Select
from tests.models.small import inputs, small


@pytest.mark.parametrize("kind", ["gelu", "eva", "custom-text", "layer-scale"])
@pytest.mark.parametrize(("name", "bias", "norm"), [("bitfit", 1, 0), ("layernorm", 0, 1), ("layernorm-bias", 1, 1)])
def test_exactly_the_biases_and_norms_are_tuned(name: str, bias: bool, norm: bool, kind: str) -> None:
    model = build_segmenter(resolve(name)[0], small(kind))
    for tower in (model.vision, model.text):
        for path, module in tower.named_modules():
            for own, p in module.named_parameters(recurse=False):
                wanted = (norm and isinstance(module, nn.LayerNorm)) or (bias and own.endswith("bias"))
                assert p.requires_grad == wanted, f"{path}.{own}"


def test_a_keys_bias_is_inert() -> None:
    """Its gradient is rounding noise beside the query's."""
    model = build_segmenter(resolve("bitfit")[0], small()).train()
    model(*inputs()).logits.square().mean().backward()
    q, k, v = model.vision.visual.transformer.resblocks[1].attn.in_proj_bias.grad.chunk(3)
    assert k.abs().max() < 1e-4 * q.abs().max()
    assert torch.all(v.abs().max() > k.abs().max())


def test_one_tower_alone() -> None:
    tuned = build_segmenter(resolve("bitfit")[0], small(), options={"select.towers": "text"}).tuned_parameters()
    assert not [n for n in tuned if n.startswith("vision.")]
    with pytest.raises(UsageError):
        Select(towers=())


def test_the_last_shift_of_the_vision_tower_is_inert_in_training() -> None:
    """The neck's first BatchNorm takes it away; in evaluation mode it moves the logits."""
    model = build_segmenter(resolve("bitfit")[0], small()).train()
    model(*inputs()).logits.square().mean().backward()
    norms = model.vision.visual.ln_post, model.vision.visual.ln_pre
    last, first = (norm.bias.grad.abs().max() for norm in norms)
    assert last < 1e-4 * first
    before = model.eval()(*inputs()).logits
    with torch.no_grad():
        norms[0].bias += 1
    assert not torch.allclose(model(*inputs()).logits, before)
