"""LoRA against merged weights in open_clip's hands, its options, and peft where it is installed."""

import math

import pytest
import torch

from barbench.engine.profile import saved_bytes
from barbench.errors import UsageError
from barbench.methods.build import build_segmenter
from barbench.methods.dora import DoRA
from barbench.methods.lora import LoRA
from barbench.methods.resolve import resolve
from barbench.models.hooks import Hooks
from barbench.models.stream import MLP_ROLES
from barbench.models.walk import walk
from tests.methods.field import attached, gradients, site, tokens, traced
from tests.models.small import KINDS, SIZE, inputs, small

ALL = ("q", "k", "v", "out", "up", "gate", "down")
BRANCH = {role: "mlp" if role in MLP_ROLES else "attn" for role in ALL}


@pytest.mark.parametrize("scaling", ["lora", "rslora"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_same_encoders_with_merged_weights(kind: str, scaling: str) -> None:
    lora, backbone = attached("lora", kind, roles=ALL, rank=3, alpha=6.0, scaling=scaling)
    found, merged = traced(lora, backbone), small(kind)
    scale = 6 / (3 if scaling == "lora" else math.sqrt(3))
    for tower in (merged.vision, merged.text):
        for block in range(tower.depth):
            for role in tower.maps:
                pair = lora.maps[f"{tower.name}-{block}-{BRANCH[role]}-{role}"]
                tower.linear(block, role).weight.data += scale * pair.b.data @ pair.a.data
    with torch.no_grad():
        expected = walk(merged.vision, merged.text, Hooks(), *inputs())
    for a, b in zip((*found.levels, found.words), (*expected.levels, expected.words), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_pissa_starts_at_the_frozen_map_with_its_largest_directions() -> None:
    lora, backbone = attached("lora", spread=0.0, roles="q", rank=2, init="pissa")
    pair, weight = lora.maps["vision-1-attn-q"], backbone.vision.linear(1, "q").weight
    values = torch.linalg.svdvals(weight)
    torch.testing.assert_close(torch.linalg.svdvals(pair.scale * pair.b @ pair.a)[:2], values[:2])
    plain = walk(backbone.vision, backbone.text, Hooks(), *inputs())
    torch.testing.assert_close(traced(lora, backbone).levels[2], plain.levels[2], rtol=1e-5, atol=1e-5)
    names = {name for name, _ in pair.named_parameters()}
    assert names == {"a", "b"}
    pair.a.data += 0.1  # what is added is s (B A - B0 A0) u
    x = tokens()
    torch.testing.assert_close(pair.product(x), pair.scale * x @ (pair.b @ pair.a - pair.b0 @ pair.a0).T)


@pytest.mark.parametrize(("roles", "fused"), [(("q", "v"), True), (("q", "up"), False)])
def test_the_mlp_stays_fused_where_no_role_of_it_is_touched(roles: tuple[str, ...], fused: bool) -> None:
    """What the fused MLP adds is not opened to `project`: its role is not announced."""
    lora, _ = attached("lora", roles=roles, towers="vision")
    assert lora.projects() == {("vision", role) for role in roles}
    assert fused == (not {("vision", role) for role in MLP_ROLES} & lora.projects())


def test_dropout_acts_on_the_input_of_a_in_training_alone() -> None:
    lora, _ = attached("lora", dropout=0.5)
    x, y = tokens(), tokens(1)
    at = site("vision", "attn")
    assert torch.equal(lora.project(at, "q", x, y, {}), lora.project(at, "q", x, y, {}))
    lora.train()
    torch.manual_seed(1)
    first = lora.project(at, "q", x, y, {})
    assert not torch.equal(first, lora.project(at, "q", x, y, {}))


def test_what_cannot_be_is_refused() -> None:
    for options in ({"rank": 0}, {"roles": ()}, {"towers": ()}, {"text_rank": 0}):
        for component in (LoRA, DoRA):
            with pytest.raises(UsageError):
                component(**options)


@pytest.mark.parametrize("kind", ["lora", "dora", "rslora", "pissa"])
def test_equals_peft(kind: str) -> None:
    """Values and gradients of one map, peft's weights copied into ours, with the original's own scaling."""
    peft = pytest.importorskip("peft", exc_type=ImportError)
    lora, backbone = attached(
        "dora" if kind == "dora" else "lora",
        rank=4,
        alpha=6.0,
        **({"scaling": "rslora"} if kind == "rslora" else {"init": "pissa"} if kind == "pissa" else {}),
        spread=0.0,
    )
    frozen = backbone.vision.linear(1, "q")
    wrapped = torch.nn.Sequential(torch.nn.Linear(64, 64))
    wrapped[0].weight.data, wrapped[0].bias.data = frozen.weight.detach().clone(), frozen.bias.detach().clone()
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=["0"],
        use_dora=kind == "dora",
        use_rslora=kind == "rslora",
        init_lora_weights="pissa" if kind == "pissa" else True,
    )
    theirs = peft.get_peft_model(wrapped, config)
    layer = theirs.base_model.model[0]
    ours = lora.maps["vision-1-attn-q"]
    pair = ours.pair if kind == "dora" else ours
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    if kind == "pissa":  # signs of singular vectors are free, so the products are compared before both are moved
        torch.testing.assert_close(pair.b @ pair.a, b @ a, rtol=1e-4, atol=1e-5)
    change_a, change_b = torch.randn(4, 64) * 0.1, torch.randn(64, 4) * 0.1
    with torch.no_grad():
        if kind == "pissa":
            pair.a0.copy_(a)
            pair.b0.copy_(b)
        a += change_a
        b += change_b
        pair.a.copy_(a)
        pair.b.copy_(b)
        if kind == "dora":
            layer.lora_magnitude_vector["default"].weight *= 1.1
            ours.magnitude.copy_(layer.lora_magnitude_vector["default"].weight)
    x = tokens()
    y = torch.nn.functional.linear(x, frozen.weight, frozen.bias)
    found, expected = lora.project(site("vision", "attn"), "q", x, y, {}), theirs(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    tuned = [p for p in theirs.parameters() if p.requires_grad]
    weights = torch.linspace(-1, 1, found.numel()).view_as(found)
    theirs_grads = {
        tuple(p.shape): g for p, g in zip(tuned, torch.autograd.grad((expected * weights).sum(), tuned), strict=True)
    }
    for p, grad in zip(ours.parameters(), gradients(ours, found), strict=True):
        other = theirs_grads[tuple(p.shape)]
        torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_what_is_kept_for_the_backward_pass_is_what_the_formula_needs() -> None:
    """Per block: the input and the output of the first norm (which A sees), q, k, v, what attention gives, the input of
    the second norm, the widened tokens (4 d), 2 r low-rank numbers, two numbers per norm and one per head."""
    kept, d, r = {}, 64, 8
    for name in ("lora", "head-only"):
        model = build_segmenter(resolve(name)[0], small("quickgelu"))
        kept[name] = saved_bytes(model, *inputs(), torch.zeros(3, SIZE, SIZE)) // 4
    needed = 0
    for tower, count in ((model.vision, 37), (model.text, 9)):
        norms = 2 * tower.depth * 2 + 2 + d  # and the last norm's, with its input
        of_block = 11 * d + 2 * r + tower.heads
        needed += 3 * count * (tower.depth * of_block + norms - d - 2)  # nothing reaches the first block's norm
    assert kept["lora"] - kept["head-only"] <= 1.01 * needed
