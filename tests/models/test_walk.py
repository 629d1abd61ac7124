"""The forward pass without components is open_clip's own, for every kind of tower."""

import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CustomTextCLIP

from barbench.errors import UsageError
from barbench.models.hooks import Hooks
from barbench.models.stream import Site, Step, Stream
from barbench.models.walk import lockstep, walk
from tests.models.small import CONTEXT, DINO, KINDS, RESNET, config, inputs, small


def reference(kind: str) -> torch.nn.Module:
    """open_clip's model with the same weights as `small(kind)`."""
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


@pytest.mark.parametrize("kind", [*KINDS, RESNET, DINO])
def test_no_parameter_of_a_tower_has_two_names(kind: str) -> None:
    """A weight that a method replaces is replaced under one name."""
    backbone = small(kind)
    for tower in (backbone.vision, backbone.text):
        names = [name for name, _ in tower.named_parameters(remove_duplicate=False)]
        assert names == [name for name, _ in tower.named_parameters()]


@pytest.mark.parametrize("kind", KINDS)
def test_forward_pass_equals_open_clip(kind: str) -> None:
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


def test_both_towers_are_seen_inside_of_their_blocks() -> None:
    """Before the out maps and before the MLPs, where both run one; what nobody changes stays equal to the last bit."""
    backbone = small("deep-vision")
    seen: list[tuple[str, Stream, Stream]] = []
    steps: list[Step] = []

    class Spy(Hooks):
        def before_block(self, step, vision, text, carry):  # type: ignore[no-untyped-def]
            steps.append(step)
            return vision, text

        def inside_block(self, phase, vision, text, carry):  # type: ignore[no-untyped-def]
            seen.append((phase, vision, text))

    class Once(Spy):
        def phases(self):  # type: ignore[no-untyped-def]
            return frozenset({"mlp"})

    with torch.no_grad():
        plain = walk(backbone.vision, backbone.text, Hooks(), *inputs())
        found = walk(backbone.vision, backbone.text, Spy(), *inputs())
        together = [step for step in steps if None not in step]
        assert len(together) == backbone.text.depth < len(steps) == backbone.vision.depth
        assert [phase for phase, *_ in seen] == ["out", "mlp"] * len(together)
        for a, b in zip((*found.levels, found.words), (*plain.levels, plain.words), strict=True):
            assert torch.equal(a, b)
        # The tokens before the MLP are those before the block with the heads through the out map.
        first = backbone.text.embed(inputs()[1]).tokens
        (_, _, heads), (_, _, tokens) = seen[:2]
        block = backbone.text.transformer.resblocks[0]
        torch.testing.assert_close(tokens.tokens, first + block.attn.out_proj(heads.tokens))
        torch.testing.assert_close(tokens.tokens, first + block.attention(block.ln_1(first), attn_mask=tokens.mask))
        seen.clear()
        walk(backbone.vision, backbone.text, Once(), *inputs())
    assert [phase for phase, *_ in seen] == ["mlp"] * len(together)


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
def test_hidden_inserted_tokens_change_nothing(kind: str) -> None:
    """Above all, rotary positions stay with their patches."""

    class Hidden(Hooks):
        def before_block(self, step, vision, text, carry):  # type: ignore[no-untyped-def]
            tokens = torch.ones(3, 4, vision.tokens.shape[-1])
            return vision.insert("hidden", tokens, torch.ones(3, 4, dtype=torch.bool)), text

    backbone = small(kind)
    with torch.no_grad():
        plain = walk(backbone.vision, backbone.text, Hooks(), *inputs())
        longer = walk(backbone.vision, backbone.text, Hidden(), *inputs())
    for a, b in zip(plain.levels, longer.levels, strict=True):
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


class Counting(Hooks):
    """Counts the rows that each vision block sees; `independent` steps are declared, None declares nothing."""

    def __init__(self, independent: int | None) -> None:
        super().__init__()
        self.independent, self.rows = independent, list[int]()

    def text_independent_steps(self, steps: int) -> int:
        return super().text_independent_steps(steps) if self.independent is None else self.independent

    def shortcut(self, site: Site, x: torch.Tensor) -> torch.Tensor:
        if site.tower == "vision" and site.branch == "attn":
            self.rows.append(len(x))
        return x


@pytest.mark.parametrize(
    ("independent", "rows"), [(6, [2] * 6), (2, [2, 2, 5, 5, 5, 5]), (0, [5] * 6), (None, [5] * 6)], ids=str
)
def test_vision_has_one_row_per_image_until_text_may_reach_it(independent: int | None, rows: list[int]) -> None:
    """A component that overrides a hook inside the encoders and declares nothing gets one row per text at once."""
    backbone, (image, ids) = small(), inputs(5)
    hooks, meant = Counting(independent), torch.tensor([0, 1, 1, 0, 1])
    with torch.no_grad():
        shared = walk(backbone.vision, backbone.text, hooks, image[:2], ids, meant)
        assert hooks.rows == rows
        plain = walk(backbone.vision, backbone.text, Hooks(), image[meant], ids)
    for ours, expected in zip((*shared.levels, shared.image), (*plain.levels, plain.image), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_a_component_that_declares_nothing_may_carry_text_in_secret() -> None:
    """Its hooks see one tower at a time, and yet it takes words to the vision tower: sharing would be wrong."""

    class Secret(Hooks):
        def branch(self, site, x, xn, delta, carry):  # type: ignore[no-untyped-def]
            if site.tower == "text":
                self.words = x.mean((1, 2))
            return delta if site.block == 0 or site.tower == "text" else delta * (1 + self.words[:, None, None])

    backbone, (image, ids), rows = small(), inputs(5), torch.tensor([0, 1, 1, 0, 1])
    with torch.no_grad():
        shared = walk(backbone.vision, backbone.text, Secret(), image[:2], ids, rows)
        plain = walk(backbone.vision, backbone.text, Secret(), image[rows], ids)
    assert not torch.allclose(shared.levels[2][0], shared.levels[2][3])
    torch.testing.assert_close(shared.levels[2], plain.levels[2], rtol=1e-5, atol=1e-5)
