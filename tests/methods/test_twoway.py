"""Two-way prompts against `nn.MultiheadAttention`, one direction at a time, and guests that leave after each block."""

import pytest
import torch
from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.methods.base import Method
from barbench.methods.twoway import Gather, TwoWayPrompts
from barbench.models.hooks import Hooks
from barbench.models.stream import Step
from barbench.models.walk import walk
from tests.methods.field import attached, traced
from tests.models.small import inputs, small


def test_a_cross_attention_is_that_of_torch_on_mapped_tokens() -> None:
    torch.manual_seed(0)
    gather = Gather(20, 12, 7, 3)
    for p in gather.parameters():
        p.data += torch.randn_like(p) * 0.1
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.eye(12).repeat(3, 1))
        theirs.out_proj.weight.copy_(torch.eye(12))
        nn.init.zeros_(theirs.out_proj.bias)
    queries, tokens = torch.randn(4, 20), torch.randn(2, 9, 20)
    pad = torch.tensor([[False] * 9, [False] * 5 + [True] * 4])
    q = gather.q(queries).expand(2, -1, -1)
    inside, _ = theirs(q, gather.k(tokens), gather.v(tokens), key_padding_mask=pad)
    torch.testing.assert_close(gather(queries, tokens, pad), gather.out(inside))
    moved = torch.where(pad[..., None], torch.randn_like(tokens), tokens)
    torch.testing.assert_close(gather(queries, moved, pad), gather(queries, tokens, pad))
    assert not torch.allclose(gather(queries, tokens, None), gather(queries, tokens, pad))


@pytest.mark.parametrize("into", ["vision", "text"])
def test_one_direction_leaves_the_other_tower_as_it_was(into: str) -> None:
    component, backbone = attached("twoway", into=into, count=3, embed=8, heads=2)
    found = traced(component, backbone)
    plain_backbone = small("quickgelu")
    with torch.no_grad():
        plain = walk(plain_backbone.vision, plain_backbone.text, Hooks(), *inputs())
    same_vision = all(torch.equal(a, b) for a, b in zip(found.levels, plain.levels, strict=True))
    assert same_vision == (into == "text")
    assert torch.equal(found.words, plain.words) == (into == "vision")


class Watch(Hooks):
    """Notes the streams that enter each block behind the prompts."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int, int]] = []
        self.guests: list[Tensor] = []

    def before_block(self, step: Step, vision, text, carry):  # type: ignore[no-untyped-def]
        self.seen.append((step.number, vision.tokens.shape[1], text.tokens.shape[1]))
        self.guests.append(vision.tokens[:, 1:4].clone())
        return vision, text


def test_each_block_has_new_prompts_in_place_of_the_old_ones() -> None:
    component, backbone = attached("twoway", count=3, embed=8, heads=2)
    watch = Watch()
    method = Method("m", [component])
    method.components.append(watch)
    method._users["before_block"].append(watch)
    with torch.no_grad():
        trace = walk(backbone.vision, backbone.text, method, *inputs())
    assert watch.seen == [(number, 1 + 3 + 36, 3 + 9) for number in range(6)]
    assert trace.words.shape[1] == 9
    assert trace.levels[2].shape[2:] == (6, 6)
    assert isinstance(component, TwoWayPrompts)
    # The first block's prompts are those of the embedded words.
    text = backbone.text.embed(inputs()[1])
    first = component.from_words[0](component.word_queries[0], text.tokens, text.pad)
    torch.testing.assert_close(watch.guests[0], first)
    assert not torch.allclose(watch.guests[0], watch.guests[1])


def test_a_deeper_tower_has_prompts_of_its_own_for_each_block() -> None:
    component, _ = attached("twoway", "deep-vision", count=2, embed=4, heads=2)
    assert isinstance(component, TwoWayPrompts)
    assert (len(component.word_queries), len(component.patch_queries)) == (12, 6)
    shared, _ = attached("twoway", "deep-vision", count=2, embed=4, heads=2, share=True)
    assert isinstance(shared, TwoWayPrompts)
    assert (len(shared.from_words), len(shared.word_queries)) == (1, 12)


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match=r"their 8 heads do not divide twoway\.embed, which is 18"):
        attached("twoway", embed=18)
