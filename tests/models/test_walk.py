"""The walk with no component is open_clip's own encoder, for every kind of tower."""

import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CustomTextCLIP

from barbench.errors import UsageError
from barbench.models.hooks import Hooks
from barbench.models.walk import lockstep, walk
from tests.models.small import CONTEXT, KINDS, config, inputs, small


def reference(kind: str) -> torch.nn.Module:
    """The same weights as `small(kind)`, in open_clip's hands."""
    torch.manual_seed(0)
    model = config(kind)
    return (CustomTextCLIP if model.pop("custom_text", False) else CLIP)(**model).eval()


def finals(visual: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """All tokens of open_clip's vision encoder in the joint space, (B, 1 + N, E)."""
    if hasattr(visual, "trunk"):
        return visual.trunk.head(visual.trunk.forward_features(image))
    tokens = visual._embeds(image)
    for block in visual.transformer.resblocks:
        tokens = block(tokens)
    return visual.ln_post(tokens) @ visual.proj


@pytest.mark.parametrize("kind", KINDS)
def test_walk_equals_open_clip(kind: str) -> None:
    backbone, theirs, (image, ids) = small(kind), reference(kind), inputs()
    with torch.no_grad():
        trace = walk(backbone.vision, backbone.text, Hooks(), image, ids)
        expected_text = theirs.encode_text(F.pad(ids, (0, CONTEXT - ids.shape[1])))
        final = finals(theirs.visual, image)
    torch.testing.assert_close(trace.sentence, expected_text, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(trace.levels[2].flatten(2).transpose(1, 2), final[:, 1:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(final[:, 0], theirs.encode_image(image), rtol=1e-5, atol=1e-5)


def test_class_token_equals_encode_image() -> None:
    backbone, theirs, (image, _) = small(), reference("gelu"), inputs()
    seen: list[torch.Tensor] = []

    class Spy(Hooks):
        def after_stage(self, stage, vision, text, carry):  # type: ignore[no-untyped-def]
            seen.append(vision.first)
            return vision, text

    with torch.no_grad():
        walk(backbone.vision, backbone.text, Spy(), *inputs())
        ours = backbone.vision.finish(seen[-1])[:, 0]
        torch.testing.assert_close(ours, theirs.encode_image(image), rtol=1e-5, atol=1e-5)


def test_levels_and_taps_are_block_outputs_on_the_grid() -> None:
    backbone, theirs, (image, ids) = small(), reference("gelu"), inputs()

    class Taps(Hooks):
        def tapped(self) -> frozenset[int]:
            return frozenset({0, 3})

    with torch.no_grad():
        trace = walk(backbone.vision, backbone.text, Taps(), image, ids)
        maps = theirs.visual.forward_intermediates(image, indices=[0, 1, 3])["image_intermediates"]
    assert sorted(trace.taps) == [0, 3]
    for ours, expected in zip(
        (trace.taps[0], trace.levels[0], trace.taps[3], trace.levels[1]), (*maps, maps[2]), strict=True
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_guests_that_nobody_sees_change_nothing(kind: str) -> None:
    """Above all, rotary positions stay with their patches."""

    class Ghosts(Hooks):
        def before_block(self, step, vision, text):  # type: ignore[no-untyped-def]
            guests = torch.ones(3, 4, vision.tokens.shape[-1])
            return vision.invite("ghosts", guests, torch.ones(3, 4, dtype=torch.bool)), text

    backbone = small(kind)
    with torch.no_grad():
        plain = walk(backbone.vision, backbone.text, Hooks(), *inputs())
        haunted = walk(backbone.vision, backbone.text, Ghosts(), *inputs())
    for a, b in zip(plain.levels, haunted.levels, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("vision", "text"), [(12, 12), (24, 12), (12, 24), (6, 4), (3, 12)])
def test_lockstep_runs_every_block_once_in_order_and_in_proportion(vision: int, text: int) -> None:
    steps = list(lockstep(vision, text))
    assert [s.vision for s in steps if s.vision is not None] == list(range(vision))
    assert [s.text for s in steps if s.text is not None] == list(range(text))
    assert [s.number for s in steps] == list(range(max(vision, text)))
    for step in steps:  # the towers are never more than a block's share apart
        done_v = sum(s.vision is not None for s in steps[: step.number + 1]) / vision
        done_t = sum(s.text is not None for s in steps[: step.number + 1]) / text
        assert abs(done_v - done_t) < 1 / min(vision, text)


def test_too_long_a_text_is_refused() -> None:
    backbone = small()
    with pytest.raises(UsageError, match="context of 24"):
        backbone.text.embed(torch.ones(1, CONTEXT + 1, dtype=torch.long))
