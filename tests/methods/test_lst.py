"""LST: the recurrence written out, no gradient into the encoders, side blocks cut out of the frozen ones."""

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from barbench.errors import UsageError
from barbench.methods.lst import LST, Ladder
from barbench.methods.resolve import resolve
from barbench.models.hooks import Hooks
from barbench.models.walk import walk
from tests.methods.field import attached, blocks, traced
from tests.models.small import LENGTH, inputs, small


def recurrence(ladder: Ladder, states: list[Tensor], mask: Tensor | None) -> list[Tensor]:
    """Each s_i, from the embeddings and the frozen blocks' outputs."""
    found = [ladder.down[0](states[0])]
    for i, rung in enumerate(ladder.rungs):
        mu = 1 / (1 + torch.exp(-ladder.alpha[i] / 0.1))
        x = mu * found[-1] + (1 - mu) * ladder.down[i + 1](states[rung + 1])
        block = ladder.blocks[i]
        h, heads = block.norm1(x), block.heads
        q, k, v = (
            t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (h @ block.qkv.weight.T + block.qkv.bias).chunk(3, -1)
        )
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        weights = (scores if mask is None else scores + mask).softmax(-1)
        x = x + block.out((weights @ v).transpose(1, 2).flatten(2))
        found.append(x + block.mlp(block.norm2(x)))
    return found


@pytest.mark.parametrize(("rungs", "read"), [(None, (2, 4, 6)), (2, (0, 1, 2))])
def test_equals_the_recurrence_beside_open_clips_blocks(rungs: int | None, read: tuple[int, int, int]) -> None:
    """`read`: after how many rungs each level is taken."""
    lst, backbone = attached("lst", rungs=rungs)
    assert isinstance(lst, LST)
    found = traced(lst, backbone)
    image, ids = inputs()
    mask = torch.full((LENGTH, LENGTH), float("-inf")).triu(1)
    with torch.no_grad():
        visions, texts = [backbone.vision.embed(image).tokens], [backbone.text.embed(ids).tokens]
        for block in blocks(backbone, "vision"):
            visions.append(block(visions[-1]))
        for block in blocks(backbone, "text"):
            texts.append(block(texts[-1], attn_mask=mask))
        ladder = lst._ladder("vision")
        states = recurrence(ladder, visions, None)
        levels = [up(ladder.norm(states[n])) for up, n in zip(ladder.up, read, strict=True)]
        levels[2] = backbone.vision.finish(levels[2])
        ladder = lst._ladder("text")
        words = backbone.text.ln_final(ladder.up[0](ladder.norm(recurrence(ladder, texts, mask)[-1])))
    for ours, theirs in zip(found.levels, levels, strict=True):
        torch.testing.assert_close(ours.flatten(2).transpose(1, 2), theirs[:, 1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.words, words, rtol=1e-4, atol=1e-5)
    sentence = (words @ backbone.text.text_projection)[range(3), ids.argmax(1)]
    torch.testing.assert_close(found.sentence, sentence, rtol=1e-4, atol=1e-5)


def test_the_originals_nine_rungs_leave_out_the_first_of_each_third() -> None:
    lst, _ = attached("lst", "deep-vision", rungs=9)
    assert lst._ladder("vision").rungs == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert lst._ladder("text").rungs == [0, 1, 2, 3, 4, 5]


def test_the_backward_pass_needs_nothing_of_the_encoders() -> None:
    """No saved tensor has the sizes that only a frozen MLP has, and what the ladders read carries no gradient."""
    lst, backbone = attached("lst", reduction=4)
    for p in (*backbone.vision.parameters(), *backbone.text.parameters()):
        p.requires_grad_(False)
    saved: list[Tensor] = []
    with saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        trace = walk(backbone.vision, backbone.text, lst, *inputs())
    assert trace.words.requires_grad
    assert trace.levels[0].requires_grad
    assert not any(t.requires_grad for t in trace.tokens.values())
    frozen = {p.data_ptr() for t in (backbone.vision, backbone.text) for p in t.parameters()}
    activations = [t for t in saved if t.ndim and t.data_ptr() not in frozen]
    assert max(t.shape[-1] for t in activations) == 64  # the towers' width; their MLPs have 256


def test_pruning_keeps_the_largest_rows_and_columns() -> None:
    backbone = small("quickgelu")
    block = blocks(backbone, "vision")[2]
    with torch.no_grad():  # three channels and hidden units that stand out by their weights
        for b in blocks(backbone, "vision"):
            for p in b.parameters():
                p.mul_(0.1)
            b.attn.in_proj_weight[:, [5, 9]] += 5
        block.mlp.c_fc.weight[[3, 7, 8, 50, 60, 61, 62, 200]] += 3
        block.attn.out_proj.weight[:, [11, 12]] += 3
    lst = LST(reduction=32)
    lst.attach(backbone)
    made = lst._ladder("vision").blocks[2]
    assert torch.equal(made.mlp[0].weight, block.mlp.c_fc.weight[[3, 7, 8, 50, 60, 61, 62, 200]][:, [5, 9]])
    assert torch.equal(made.qkv.weight[:2], block.attn.in_proj_weight[[11, 12]][:, [5, 9]])
    assert torch.equal(made.qkv.bias[4:], block.attn.in_proj_bias[[128 + 11, 128 + 12]])
    assert torch.equal(made.out.weight, block.attn.out_proj.weight[[5, 9]][:, [11, 12]])


def test_one_tower_alone_leaves_the_other_as_it_is() -> None:
    lst, backbone = attached("lst", towers=["vision"])
    found, plain = traced(lst, backbone), walk(backbone.vision, backbone.text, Hooks(), *inputs())
    assert torch.equal(found.words, plain.words)
    assert torch.equal(found.sentence, plain.sentence)
    assert not torch.allclose(found.levels[0], plain.levels[0])


@pytest.mark.parametrize("options", [{"lst.reduction": 1}, {"lst.rungs": 0}, {"lst.towers": []}])
def test_mistakes_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"option lst\.(reduction|rungs|towers) is .*, not"):
        resolve("lst")[0].create(options)


def test_nothing_is_tuned_behind_it() -> None:
    with pytest.raises(UsageError, match="LST cannot be combined with LoRA: its side network lets no gradient"):
        resolve("lst+lora")
    with pytest.raises(UsageError, match="LST cannot be combined with Positional"):
        resolve("lst")[0].create({"positional": "train"})
