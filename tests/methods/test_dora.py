"""DoRA against its definition: rows of W + s B A brought to a tuned length, the norm without a gradient."""

import torch
import torch.nn.functional as F

from tests.methods.field import attached, site, tokens

ROLES = ("q", "k", "v", "out", "up", "down")


def test_equals_the_definition_at_every_map() -> None:
    dora, backbone = attached("dora", roles=ROLES, rank=2, alpha=4.0)
    for role in ROLES:
        branch = "mlp" if role in ("up", "down") else "attn"
        frozen, ours = backbone.vision.linear(1, role), dora.maps[f"vision-1-{branch}-{role}"]
        x = tokens(width=frozen.weight.shape[1])
        changed = frozen.weight + 2.0 * ours.pair.b @ ours.pair.a
        gain = ours.magnitude / changed.norm(dim=1).detach()
        expected = x @ (gain[:, None] * changed).T + frozen.bias
        found = dora.project(site("vision", branch), role, x, F.linear(x, frozen.weight, frozen.bias), {})
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        parameters = list(ours.parameters())
        for a, b in zip(
            torch.autograd.grad(found.square().sum(), parameters, retain_graph=True),
            torch.autograd.grad(expected.square().sum(), parameters),
            strict=True,
        ):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def test_from_the_largest_directions_it_starts_at_the_frozen_map() -> None:
    dora, backbone = attached("dora", spread=0.0, init="pissa")
    frozen, x = backbone.text.linear(1, "v"), tokens()
    y = F.linear(x, frozen.weight, frozen.bias)
    torch.testing.assert_close(dora.project(site("text", "attn"), "v", x, y, {}), y, rtol=1e-4, atol=1e-4)


def test_the_norm_sees_weights_that_are_tuned_as_well_and_owns_none() -> None:
    dora, backbone = attached("dora", spread=0.0)
    before = backbone.vision.linear(1, "q")
    before.weight.data *= 2  # as `full` beside it may do
    x = tokens()
    y = F.linear(x, before.weight, before.bias)
    found = dora.project(site("vision", "attn"), "q", x, y, {})
    torch.testing.assert_close(found - before.bias, (y - before.bias) / 2, rtol=1e-4, atol=1e-4)
    assert not [name for name in dora.state_dict() if "visual" in name or "transformer" in name]
