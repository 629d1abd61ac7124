"""VPT, deep prompts and MaPLe against loops over open_clip's own blocks."""

import math

import pytest
import torch

from barbench.errors import UsageError
from barbench.methods.maple import MaPLe
from barbench.methods.prompts import Prompts
from tests.methods.field import attached, blocks, traced
from tests.models.small import LENGTH, inputs, small


def loop(backbone, vision, text):  # type: ignore[no-untyped-def]
    """Tokens are put in before the blocks that have their own, and walk along behind the last of these."""
    image, ids = inputs()
    with torch.no_grad():
        v, count = backbone.vision.embed(image).tokens, 0
        for i, block in enumerate(blocks(backbone, "vision")):
            if i < len(vision):
                guests = vision[i].expand(3, -1, -1)
                v, count = torch.cat([v[:, :1], guests, v[:, 1 + count :]], 1), guests.shape[1]
            v = block(v)
        t, count = backbone.text.embed(ids).tokens, 0
        for i, block in enumerate(blocks(backbone, "text")):
            if i < len(text):
                guests = text[i].expand(3, -1, -1)
                t, count = torch.cat([guests, t[:, count:]], 1), guests.shape[1]
            causal = torch.full((t.shape[1],) * 2, float("-inf")).triu(1)
            causal[:count, :count] = 0  # inserted tokens see each other
            t = block(t, attn_mask=causal)
        return backbone.vision.finish(v[:, -36:]), backbone.text.finish(t[:, -LENGTH:])


@pytest.mark.parametrize(
    ("depth", "towers"), [(1, "vision"), (None, "vision"), (4, "vision+text"), (None, "text")], ids=str
)
def test_prompts_equal_a_loop_over_the_blocks(depth: int | None, towers: str) -> None:
    prompts, backbone = attached("prompts", count=3, depth=depth, towers=towers)
    found = traced(prompts, backbone)
    own = {t: prompts.prompts.get(t, ()) for t in ("vision", "text")}
    assert [len(own[t]) for t in towers.split("+")] == [depth or 6] * (1 + towers.count("+"))
    patches, words = loop(backbone, own["vision"], own["text"])
    torch.testing.assert_close(found.levels[2].flatten(2).transpose(1, 2), patches, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.words, words, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shared", [True, False])
def test_maple_makes_the_visions_prompts_from_the_texts(shared: bool) -> None:
    maple, backbone = attached("maple", depth=4, shared=shared)
    couplings = [maple.couplings[0 if shared else i] for i in range(4)]
    vision = [c(p).detach() for c, p in zip(couplings, maple.prompts, strict=True)]
    found, (patches, words) = traced(maple, backbone), loop(backbone, vision, maple.prompts)
    torch.testing.assert_close(found.levels[2].flatten(2).transpose(1, 2), patches, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.words, words, rtol=1e-4, atol=1e-4)


def test_starts() -> None:
    uniform, _ = attached("prompts", spread=0.0, count=200)
    bound = math.sqrt(6 / (3 * 8 * 8 + 64))
    values = uniform.prompts["vision"].detach()
    assert 0.99 * bound < float(values.abs().max()) <= bound
    assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    normal, _ = attached("prompts", spread=0.0, count=200, init="normal", towers="text")
    assert float(normal.prompts["text"].detach().std()) == pytest.approx(0.02, rel=0.02)
    maple, _ = attached("maple", spread=0.0)
    assert len(maple.prompts) == 6  # of 9 that are asked for: a tower has no more blocks


def test_maples_first_prompts_are_embedded_words() -> None:
    """Where the tower knows the words: the embedded backbone's own vocabulary does not, CLIP's does."""
    backbone = small()
    table = torch.nn.Embedding(49408, 64)
    backbone.text.token_embedding = table
    maple = MaPLe(count=2)
    maple.attach(backbone)
    ids = backbone.tokenizer(["a photo"], 8)[0, 1:3]
    torch.testing.assert_close(maple.prompts[0], table.weight[ids])
    assert not torch.allclose(maple.prompts[1], table.weight[ids])


def test_what_cannot_be_is_refused() -> None:
    for component, options in ((Prompts, {"count": 0}), (Prompts, {"towers": ()}), (MaPLe, {"depth": 0})):
        with pytest.raises(UsageError):
            component(**options)
