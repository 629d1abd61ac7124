"""The bridge against a transcription that calls `nn.MultiheadAttention` and plain convolutions, stage after stage."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from barbench.errors import UsageError
from barbench.methods.base import Method
from barbench.methods.bridge import Bridge
from barbench.models.hooks import Hooks
from barbench.models.stream import Stream
from barbench.models.walk import walk
from tests.models.small import inputs, small


def through(block: torch.nn.Sequential, x: Tensor) -> Tensor:
    """conv_block or deconv_block of kernel 1 on tokens (B, N, D), BatchNorm in evaluation mode."""
    conv, norm = block[0], block[1]
    weight = conv.weight[:, :, 0, 0]
    weight = weight.T if isinstance(conv, torch.nn.ConvTranspose2d) else weight
    return F.relu((x @ weight.T - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias)


def test_stages_follow_the_released_formula() -> None:
    backbone = small()
    torch.manual_seed(0)
    bridge = Bridge(16, 4)
    bridge.attach(backbone)
    bridge.eval()
    for tensor in (*bridge.parameters(), *(b for n, b in bridge.named_buffers() if "running" in n)):
        tensor.data = tensor.data + torch.rand_like(tensor) * 0.2
    patches, words, carry = torch.randn(2, 36, 64), torch.randn(2, 9, 64), {}
    last_v = last_t = None
    for s in range(3):
        cls = torch.randn(2, 1, 64)
        vision, text = Stream(torch.cat([cls, patches], 1), 1), Stream(words, 0)
        vision, text = bridge.after_stage(s, vision, text, carry)
        v, t = through(bridge.zoom_in[s], patches), bridge.linear1[s](words)
        if s:
            v, t = bridge.ln_v[s - 1](v + last_v), bridge.ln_t[s - 1](t + last_t)
        last_v, last_t = v, t
        attend_v, attend_t = bridge.fusion_v[s].multihead_attn, bridge.fusion_t[s].multihead_attn
        v_, t_ = v.transpose(0, 1), t.transpose(0, 1)
        new_v = v * attend_v(v_, t_, t_)[0].transpose(0, 1)
        new_t = t * attend_t(t_, v_, v_)[0].transpose(0, 1)
        patches, words = patches + through(bridge.zoom_out[s], new_v), words + bridge.linear2[s](new_t)
        torch.testing.assert_close(vision.first, cls)
        torch.testing.assert_close(vision.body, patches, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(text.body, words, rtol=1e-5, atol=1e-5)


def test_bridge_exchanges_after_each_third_and_adds_before_the_stage_output() -> None:
    backbone, (image, ids) = small(), inputs()
    method = Method("m", [Bridge(16, 4)])
    method.attach(backbone)
    method.eval()
    with torch.no_grad():
        plain = walk(backbone.vision, backbone.text, Hooks(), image, ids)
        bridged = walk(backbone.vision, backbone.text, method, image, ids)
    for a, b in zip(plain.levels, bridged.levels, strict=True):
        assert not torch.allclose(a, b)
    assert not torch.allclose(plain.words, bridged.words)


def test_dim_must_split_into_heads() -> None:
    with pytest.raises(UsageError, match="multiple"):
        Bridge(20, 8)
