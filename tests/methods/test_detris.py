"""DETRIS in CLIP's towers: the text runs first, finished words reach the aligners, every second block has one."""

import pytest
import torch
from torch import Tensor

from barbench.errors import UnfitBackbone, UsageError
from barbench.methods.detris import Detris, spread
from barbench.models.hooks import Hooks
from barbench.models.walk import schedule, walk
from tests.methods.field import attached, blocks, site, traced
from tests.models.small import LENGTH, inputs


def test_equals_the_formula_around_open_clips_blocks() -> None:
    """The modules themselves are compared with the public code (tests/golden); here their places and inputs are."""
    detris, backbone = attached("detris", channels=16, text_channels=16, embed=16, heads=4)
    found = traced(detris, backbone)
    assert set(detris.aligners) == {f"vision-{i}-mlp" for i in (1, 3, 5)}
    assert set(detris.adapters) == {f"text-{i}-mlp" for i in (1, 3, 5)}
    image, ids = inputs()
    with torch.no_grad():
        t = backbone.text.embed(ids).tokens
        mask = torch.full((LENGTH, LENGTH), float("-inf")).triu(1)
        for i, block in enumerate(blocks(backbone, "text")):
            t = t + block.attention(block.ln_1(t), attn_mask=mask)
            t = t + block.mlp(block.ln_2(t)) + (0.2 * detris.adapters[f"text-{i}-mlp"](t, 0) if i % 2 else 0)
        words = backbone.text.ln_final(t)
        v = backbone.vision.embed(image).tokens
        for i, block in enumerate(blocks(backbone, "vision")):
            v = v + block.attention(block.ln_1(v))
            vn = block.ln_2(v)
            v = v + block.mlp(vn) + (0.2 * detris.aligners[f"vision-{i}-mlp"](vn, words) if i % 2 else 0)
        patches = backbone.vision.finish(v[:, 1:])
    torch.testing.assert_close(found.words, words, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.levels[2].flatten(2).transpose(1, 2), patches, rtol=1e-4, atol=1e-4)


def test_the_text_tower_runs_first_and_both_run_whole() -> None:
    steps = schedule("text first", 4, 2)
    assert [(s.number, s.vision, s.text) for s in steps] == [
        (0, None, 0), (1, None, 1), (0, 0, None), (1, 1, None), (2, 2, None), (3, 3, None)
    ]  # fmt: skip

    class First(Hooks):
        def order(self):  # type: ignore[no-untyped-def]
            return "text first"

        def text_independent_steps(self, steps: int) -> int:
            assert steps == 12
            return 0

    _, backbone = attached("detris", "deep-vision")
    with torch.no_grad():
        first = walk(backbone.vision, backbone.text, First(), *inputs())
        plain = walk(backbone.vision, backbone.text, Hooks(), *inputs())
    for a, b in zip((*first.levels, first.words), (*plain.levels, plain.words), strict=True):
        assert torch.equal(a, b)


def test_without_cross_attention_no_text_reaches_the_patches() -> None:
    detris, backbone = attached("detris", channels=16, cross=False, text=False)
    assert (detris.order(), detris.text_independent_steps(6)) == (None, 6)
    image, ids = inputs()

    def level(ids: Tensor) -> Tensor:
        with torch.no_grad():
            return walk(backbone.vision, backbone.text, detris, image, ids).levels[2]

    assert torch.equal(level(ids), level(ids.roll(1, 0)))


@pytest.mark.parametrize(("depth", "places"), [(12, [1, 3, 5, 7, 9, 11]), (6, [1, 3, 5]), (24, list(range(1, 24, 2)))])
def test_places_follow_the_depth(depth: int, places: list[int]) -> None:
    assert spread(depth, depth // 2) == places
    assert spread(12, 4) == [2, 5, 8, 11]


def test_places_may_be_given() -> None:
    detris, backbone = attached("detris", channels=16, text_channels=16, at="0+4", text_at=(5, 1))
    assert set(detris.aligners) == {"vision-0-mlp", "vision-4-mlp"}
    assert set(detris.adapters) == {"text-1-mlp", "text-5-mlp"}
    assert detris.text_independent_steps(6) == 0
    for options in ({"at": (6,)}, {"text_at": (2, 9)}):
        with pytest.raises(UnfitBackbone, match="has the blocks 0 to 5"):
            Detris(**options).attach(backbone)


def test_it_is_added_inside_a_layer_scale() -> None:
    """As in the original: gains (0.3 here) times the branch and what the aligner adds to it."""
    detris, backbone = attached("detris", "layer-scale", channels=16, text_channels=16, embed=16, heads=4)
    gains = torch.linspace(0.1, 1, 64)
    block = blocks(backbone, "vision")[1]
    block.ls_2.gamma.data.copy_(gains)
    x, xn, words = torch.randn(2, 37, 64), torch.randn(2, 37, 64), torch.randn(2, 9, 48)
    at = site("vision", "mlp")
    with torch.no_grad():
        delta = backbone.vision.mlp(at, xn)
        found = detris.branch(at, x, xn, delta, {detris: (words,)})
        inner = block.mlp(xn) + 0.2 * detris.aligners[at.key](xn, words)
    torch.testing.assert_close(found, gains * inner, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_is_refused() -> None:
    for options in ({"channels": 24}, {"embed": 12}, {"conv": False, "cross": False}, {"blocks": 0}):
        with pytest.raises(UsageError):
            Detris(**options)
