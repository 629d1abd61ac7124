"""Neck, decoder, projector and loss against plain transcriptions of appendix C and Eq. 10-12."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.decoder import Decoder
from barbench.models.neck import Neck, SentenceGate
from barbench.models.positions import sincos_1d, sincos_2d
from barbench.models.projector import Projector
from barbench.models.pyramid import PyramidNeck
from barbench.models.segmenter import Segmenter, segmentation_loss
from barbench.spec.backbone import HeadSpec
from tests.models.small import inputs, small

B, WIDTH, WORDS, JOINT, GRID = 2, 16, 12, 20, (3, 4)
SENTENCE = 14
"""Its width is the text tower's, which need not be that of the last level."""


def noisy(module: nn.Module) -> nn.Module:
    """Move every parameter and statistic from its initial value, so that no zero or one hides anything."""
    torch.manual_seed(1)
    for tensor in (*module.parameters(), *(b for n, b in module.named_buffers() if "running" in n)):
        tensor.data = tensor.data + torch.rand_like(tensor) * 0.3
    return module.double().eval()


def test_sentence_gate_is_attention_over_a_single_key() -> None:
    gate = noisy(SentenceGate(WIDTH))
    real = nn.MultiheadAttention(WIDTH, 8, batch_first=True).double()
    real.load_state_dict(gate.multihead_attn.state_dict())
    x, token = torch.randn(B, WIDTH, *GRID).double(), torch.randn(B, WIDTH).double()
    tokens = x.flatten(2).transpose(1, 2)
    expected = tokens * real(tokens, token[:, None], token[:, None])[0]
    torch.testing.assert_close(gate(x, token).flatten(2).transpose(1, 2), expected)


def test_neck_is_equation_11() -> None:
    neck = noisy(Neck((10, 11, JOINT), SENTENCE, WIDTH, GRID))
    levels = tuple(torch.randn(B, c, *GRID).double() for c in (10, 11, JOINT))
    sentence = torch.randn(B, SENTENCE).double()

    def block(seq: nn.Sequential, x: Tensor, padding: int = 0, transposed: bool = False) -> Tensor:
        conv, norm = seq[0], seq[1]
        weight = conv.weight.transpose(0, 1) if transposed else conv.weight
        y = F.conv2d(x, weight, padding=padding)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        return ((y - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]).relu()

    token = neck.txt_proj(sentence)
    maps = (block(neck.f3_proj, levels[0]), block(neck.f4_proj, levels[1]), block(neck.f5_proj, levels[2], 0, True))
    gated = [g(m, token) for g, m in zip((neck.fusion3, neck.fusion4, neck.fusion5), maps, strict=True)]
    fused = block(neck.aggr, torch.cat(gated, 1))
    rows, columns = GRID
    x = torch.linspace(-1, 1, columns).double().view(1, 1, 1, columns).expand(B, 1, rows, columns)
    y = torch.linspace(-1, 1, rows).double().view(1, 1, rows, 1).expand(B, 1, rows, columns)
    expected = block(neck.coordconv[1], block(neck.coordconv[0].conv1, torch.cat([fused, x, y], 1), 1), 1)
    torch.testing.assert_close(neck(levels, sentence), expected)


def test_neck_of_cris_on_one_grid_is_its_formula_without_resizing() -> None:
    neck = noisy(PyramidNeck((10, 11, JOINT), SENTENCE, WIDTH, GRID))
    v3, v4, v5 = (torch.randn(B, c, *GRID).double() for c in (10, 11, JOINT))
    sentence = torch.randn(B, SENTENCE).double()
    f5 = neck.norm_layer(neck.f1_v_proj(v5) * neck.txt_proj(sentence)[:, :, None, None])
    f4 = neck.f2_cat(torch.cat([neck.f2_v_proj(v4), f5], 1))
    f3 = neck.f3_cat(torch.cat([neck.f3_v_proj(v3), f4], 1))
    joined = torch.cat([neck.f4_proj3(f3), neck.f4_proj4(f4), neck.f4_proj5(f5)], 1)
    torch.testing.assert_close(neck((v3, v4, v5), sentence), neck.coordconv(neck.aggr(joined)))


def test_decoder_is_pre_norm_attention_with_positions_on_queries_and_keys() -> None:
    for words_width in (WIDTH, WORDS):
        decoder = noisy(Decoder(HeadSpec(WIDTH, 24, 4, 2, 0.1), words_width, GRID, 9))
        query, words = torch.randn(B, WIDTH, *GRID).double(), torch.randn(B, 7, words_width).double()
        pad = torch.tensor([[False] * 7, [False] * 4 + [True] * 3])
        x = query.flatten(2).permute(2, 0, 1)
        t = words.transpose(0, 1)
        patch_pos, word_pos = sincos_2d(*GRID, WIDTH)[:, None].double(), sincos_1d(7, words_width)[:, None].double()
        for layer in decoder.layers:
            h = layer.norm1(x)
            x = x + layer.self_attn_norm(layer.self_attn(h + patch_pos, h + patch_pos, h)[0])
            h = layer.norm2(x)
            crossed = layer.multihead_attn(h + patch_pos, t + word_pos, t, key_padding_mask=pad)[0]
            x = x + layer.cross_attn_norm(crossed)
            x = x + layer.ffn(layer.norm3(x))
        expected = decoder.norm(x).permute(1, 2, 0).reshape(B, WIDTH, *GRID)
        torch.testing.assert_close(decoder(query, words, pad), expected)


def test_projector_is_equation_12() -> None:
    projector = noisy(Projector(WIDTH, JOINT))
    x, sentence = torch.randn(B, WIDTH, *GRID).double(), torch.randn(B, JOINT).double()
    f_ci, f_t = projector.vis(x), projector.txt(sentence)
    expected = torch.stack(
        [F.conv2d(f_ci[b][None], f_t[b, :-1].view(1, WIDTH // 2, 3, 3), f_t[b, -1:], padding=1)[0] for b in range(B)]
    )
    logits = projector(x, sentence)
    assert logits.shape == (B, 1, 4 * GRID[0], 4 * GRID[1])
    torch.testing.assert_close(logits, expected)


def test_loss_is_equation_10() -> None:
    logits, mask = torch.randn(B, 1, 4, 4), torch.zeros(B, 8, 8)
    mask[:, 2:5, 1:6] = 1
    total = 0.0
    for b in range(B):
        for i in range(4):
            for j in range(4):
                s = torch.sigmoid(logits[b, 0, i, j])
                total -= torch.log(s if mask[b, 2 * i, 2 * j] == 1 else 1 - s).item()
    torch.testing.assert_close(segmentation_loss(logits, mask), torch.tensor(total / (B * 16)))


def test_positions_tell_rows_from_columns() -> None:
    encodings = sincos_2d(2, 3, 8).view(2, 3, 8)
    assert torch.equal(encodings[0, :, :4], encodings[1, :, :4])
    assert torch.equal(encodings[:, 0, 4:], encodings[:, 2, 4:])
    angles = torch.tensor([1.0, 0.01])
    torch.testing.assert_close(encodings[0, 1, :4], torch.stack([angles.sin(), angles.cos()], 1).flatten())


@pytest.mark.parametrize("neck", ["etris", "cris"])
@pytest.mark.parametrize("method", ["snf", "barleria"])
def test_a_sentence_has_the_width_of_its_own_tower(method: str, neck: str) -> None:
    """As in a backbone whose towers were not trained together: no joint space, and two widths."""
    backbone = small()
    backbone.text.text_projection = nn.Parameter(torch.randn(backbone.text.width, SENTENCE))
    backbone.text.joint = SENTENCE
    assert backbone.vision.joint != SENTENCE
    spec = dataclasses.replace(backbone.head, neck=neck)
    apart = dataclasses.replace(backbone, head=spec, aligned=False)
    options = {"gst.prior": False} if method == "barleria" else {}
    segmenter = build_segmenter(resolve(method)[0], apart, 0, options)
    assert isinstance(segmenter, Segmenter)
    logits = segmenter(*inputs()).logits
    assert logits.shape == (3, 1, *segmenter.mask_grid)
    logits.sum().backward()
    first = next(segmenter.neck.txt_proj.parameters())
    assert first.shape[1] == SENTENCE
    assert first.grad is not None
