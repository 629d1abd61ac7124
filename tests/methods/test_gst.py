"""GST against Eq. 4 to 8, with loops over heads, rows and modules."""

import math

import pytest
import torch
from torch import Tensor

from barbench.errors import UsageError
from barbench.methods.gst import GST, GlobalBlock, global_prior
from barbench.models.hooks import Hooks
from barbench.models.positions import sincos_2d
from barbench.models.stream import Trace
from barbench.models.walk import walk
from tests.models.small import LENGTH, inputs, small

SIDE, QUERIES, HEADS = 24, 5, 3


def traced(gst: GST) -> Trace:
    """What the frozen encoders give with `gst` attached: the input of its `fuse`."""
    backbone = small()
    torch.manual_seed(0)
    gst.attach(backbone)
    with torch.no_grad():
        return walk(backbone.vision, backbone.text, gst, *inputs())


def test_prior_is_equation_4() -> None:
    words, patches, sentence = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 4)
    p = global_prior(words, patches, sentence)
    assert p.shape == (2, 8, 4)
    for b in range(2):
        for n, row in enumerate((*words[b], *patches[b])):
            cosine = (row @ sentence[b]) / (row.norm() * sentence[b].norm())
            torch.testing.assert_close(p[b, n], cosine * row)


def mhsa(block: GlobalBlock, x: Tensor, p: Tensor) -> Tensor:
    """Eq. 6 head by head for x, p (T, d): Softmax(I W_q (I W_k)^T / sqrt(C)) (I W_v + p W_p)."""
    (w_q, w_k, w_v), (b_q, b_k, b_v) = block.qkv.weight.chunk(3), block.qkv.bias.chunk(3)
    q, k, v = x @ w_q.T + b_q, x @ w_k.T + b_k, x @ w_v.T + b_v + p @ block.prior.weight.T
    width = x.shape[1] // HEADS
    outs = []
    for h in range(HEADS):
        part = slice(h * width, (h + 1) * width)
        outs.append(torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(width), -1) @ v[:, part])
    return block.out(torch.cat(outs, 1))


def test_block_is_equation_6() -> None:
    block = GlobalBlock(SIDE, HEADS, prior=True)
    x, p = torch.randn(2, 7, SIDE), torch.randn(2, 7, SIDE)
    for start in (0, 3):
        out = block(x, p, start)
        for b in range(2):
            y = x[b] + mhsa(block, block.norm1(x[b]), p[b])
            y = y + block.mlp(block.norm2(y))
            torch.testing.assert_close(out[b], y[start:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("modules", [4, 2])
def test_modules_follow_equations_5_7_and_8(modules: int) -> None:
    gst = GST(SIDE, modules, QUERIES, HEADS)
    trace = traced(gst)
    query = torch.randn(3, 32, 6, 6)
    image, _ = inputs()
    at = {4: (0, 2, 3, 5), 2: (2, 5)}[modules]  # features after these blocks of six, as 3, 6, 9, 12 of twelve
    assert gst.tapped() == frozenset(at)
    with torch.no_grad():
        fused = gst.fuse(query, trace)
        for b in range(3):
            patches = torch.nn.functional.unfold(image[b][None], 8, stride=8)[0].T
            tokens = patches @ gst.embed.weight.flatten(1).T + gst.embed.bias + sincos_2d(6, 6, SIDE)
            x = torch.cat([gst.query, gst.words(trace.joint[b]), tokens])
            vision = trace.levels[2][b].flatten(1).T
            p = global_prior(trace.joint[b][None], vision[None], trace.sentence[b][None])[0]
            p = torch.cat([torch.zeros(QUERIES, SIDE), gst.words(p)])
            for i, block in enumerate(gst.blocks):
                x = x + mhsa(block, block.norm1(x), gst.priors[i](p))
                x = x + block.mlp(block.norm2(x))
                feature = gst.features[i](trace.taps[at[i]][b].flatten(1).T)
                x = torch.cat([x[: QUERIES + LENGTH], x[QUERIES + LENGTH :] + feature])
            out = gst.out(x[QUERIES + LENGTH :]).T.reshape(32, 6, 6)
            torch.testing.assert_close(fused.query[b], query[b] + out, rtol=1e-4, atol=1e-4)
    assert fused.loss is None


@pytest.mark.parametrize("detach", [True, False])
def test_features_of_equation_8_are_detached(detach: bool) -> None:
    gst = GST(SIDE, 4, QUERIES, HEADS, detach=detach)
    trace = traced(gst)
    taps = {i: t.clone().requires_grad_() for i, t in trace.taps.items()}
    gst.fuse(torch.zeros(3, 32, 6, 6), trace._replace(taps=taps)).query.sum().backward()
    assert all((t.grad is None) == detach for t in taps.values())


def test_options_leave_nothing_unused() -> None:
    for options in ({"prior": False}, {"queries": 0}, {"modules": 1}):
        gst = GST(**{"side": SIDE, "queries": QUERIES, "heads": HEADS, **options})
        trace = traced(gst)
        gst.fuse(torch.zeros(3, 32, 6, 6), trace).query.square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in gst.parameters())
    with pytest.raises(UsageError):
        GST(side=10)


def test_last_projection_counts_as_head() -> None:
    gst = GST(SIDE, 4, QUERIES, HEADS)
    traced(gst)
    assert sum(p.numel() for p in gst.head_parameters()) == SIDE * 32 + 32
    assert Hooks().head_parameters() == []
