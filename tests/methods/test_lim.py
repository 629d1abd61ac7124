"""LIM and SNF against Eq. 2 and 3, written with open_clip's own blocks."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from barbench.errors import UsageError
from barbench.methods.base import Method
from barbench.methods.lim import LIM
from barbench.methods.snf import SNF
from barbench.models.hooks import Hooks
from barbench.models.stream import Trace
from barbench.models.walk import walk
from tests.models.small import LENGTH, inputs, small


def built(kind: str, *components: LIM | SNF) -> tuple[Method, Trace]:
    """A method with parameters far from their initial values, and its trace."""
    torch.manual_seed(0)
    backbone, method = small(kind), Method("m", components)
    method.attach(backbone)
    for p in method.parameters():
        p.data = p.data + torch.randn_like(p) * 0.1
    with torch.no_grad():
        return method, walk(backbone.vision, backbone.text, method, *inputs())


def test_every_block_follows_equations_2_and_3() -> None:
    snf, lim = SNF(), LIM()
    _, trace = built("quickgelu", snf, lim)
    backbone, (image, ids) = small("quickgelu"), inputs()
    p, q = lim.to_vision, lim.to_text

    def block(tower: str, i: int, module: torch.nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
        x = snf.flows[f"{tower}-{i}-attn"](x) + module.attention(module.ln_1(x), attn_mask=mask)
        return snf.flows[f"{tower}-{i}-mlp"](x) + module.mlp(module.ln_2(x))

    with torch.no_grad():
        v, t = backbone.vision.embed(image).tokens, backbone.text.embed(ids).tokens
        causal = torch.full((LENGTH + 1, LENGTH + 1), float("-inf")).triu(1)
        for i in range(6):
            vision, text = backbone.vision.visual, backbone.text
            seen = torch.cat([v[:, :1], p(t), v[:, 1:]], 1)
            heard = torch.cat([q(v[:, :1]), t], 1)
            out = block("vision", i, vision.transformer.resblocks[i], seen, None)
            v = torch.cat([out[:, :1], out[:, 1 + LENGTH :]], 1)
            t = block("text", i, text.transformer.resblocks[i], heard, causal)[:, 1:]
            if i in (1, 3):
                level = trace.levels[i // 2].flatten(2).transpose(1, 2)
                torch.testing.assert_close(level, v[:, 1:], rtol=1e-4, atol=1e-4)
        words = text.ln_final(t)
        torch.testing.assert_close(trace.words, words, rtol=1e-4, atol=1e-4)
        sentence = words[torch.arange(len(ids)), ids.argmax(1)] @ text.text_projection
        torch.testing.assert_close(trace.sentence, sentence, rtol=1e-4, atol=1e-4)
        final = vision.ln_post(v[:, 1:]) @ vision.proj
        torch.testing.assert_close(trace.levels[2].flatten(2).transpose(1, 2), final, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_one_way_changes_one_tower_only(tower: str) -> None:
    backbone = small()
    with torch.no_grad():
        plain = walk(backbone.vision, backbone.text, Hooks(), *inputs())
    method, trace = built("gelu", LIM(into=(tower,)))  # type: ignore[arg-type]
    assert torch.equal(trace.words, plain.words) == (tower == "vision")
    assert torch.equal(trace.levels[0], plain.levels[0]) == (tower == "text")
    assert len(list(method.parameters())) == 4


def test_words_that_are_inserted_once_stay() -> None:
    """The released code's path: words enter at the input and are tokens like any other from there on."""
    lim = LIM(into=("vision",), every="input")
    _, trace = built("gelu", lim)
    backbone, (image, ids) = small(), inputs()
    with torch.no_grad():
        v, words = backbone.vision.embed(image).tokens, backbone.text.embed(ids).tokens
        v = torch.cat([v[:, :1], lim.to_vision(words), v[:, 1:]], 1)
        for block in backbone.vision.visual.transformer.resblocks:
            v = block(v)
        expected = backbone.vision.finish(v[:, 1 + LENGTH :])
    torch.testing.assert_close(trace.levels[2].flatten(2).transpose(1, 2), expected, rtol=1e-5, atol=1e-5)


def test_masked_padding_makes_results_independent_of_the_fixed_length() -> None:
    """With padding hidden from the patches, more padding changes nothing; otherwise it does."""
    backbone, (image, ids) = small(), inputs()
    longer = F.pad(ids, (0, 4))
    for padding, same in (("mask", True), ("see", False)):
        torch.manual_seed(0)
        method = Method("m", [LIM(padding=padding)])  # type: ignore[arg-type]
        method.attach(backbone)
        for p in method.parameters():
            p.data = p.data + torch.randn_like(p) * 0.1
        with torch.no_grad():
            short = walk(backbone.vision, backbone.text, method, image, ids)
            long = walk(backbone.vision, backbone.text, method, image, longer)
        assert torch.allclose(short.levels[2], long.levels[2], atol=1e-5) == same


def test_towers_of_different_depth_exchange_in_proportion() -> None:
    """12 vision blocks meet 6 text blocks: each vision block gets words, each text block gets the class token."""
    _, trace = built("deep-vision", SNF(), LIM())
    assert trace.words.isfinite().all()
    assert trace.levels[2].shape == (3, 40, 6, 6)


def test_lim_needs_a_tower() -> None:
    with pytest.raises(UsageError):
        LIM(into=())
