"""Cross-modal neck (appendix C, Eq. 11): three feature levels and the sentence become one map, coordinates added."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_block(inputs: int, outputs: int, kernel: int = 1) -> nn.Sequential:
    """Convolution without bias, BatchNorm, ReLU; the size of the map is kept. (B, inputs, H, W) -> (B, outputs, H,
    W)."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def deconv_block(inputs: int, outputs: int) -> nn.Sequential:
    """`conv_block` of kernel 1 whose weight is stored (inputs, outputs, 1, 1), as the released heads have it in
    places."""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class SentenceGate(nn.Module):
    """x * MHA(query=x, key=t, value=t) with one text token t.

    A softmax over a single key is 1, so the attention is W_o (W_v t) at every place. The weights keep the layout of
    `nn.MultiheadAttention`, so that released checkpoints load; the query and key rows receive zero gradient.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(width, 1)

    def forward(self, x: Tensor, token: Tensor) -> Tensor:
        """x (B, width, H, W), token (B, width) -> (B, width, H, W)."""
        attn = self.multihead_attn
        width = attn.embed_dim
        value = F.linear(token, attn.in_proj_weight[2 * width :], attn.in_proj_bias[2 * width :])
        gate: Tensor = attn.out_proj(value)
        return x * gate[:, :, None, None]


class Coordinates(nn.Module):
    """Appends x and y in [-1, 1] to a map and convolves 3x3 (Eq. 11)."""

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = conv_block(width + 2, width, 3)
        rows, columns = (torch.linspace(-1, 1, n) for n in grid)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        self.where: Tensor
        self.register_buffer("where", torch.stack([x, y])[None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, width, H, W)."""
        conv, rest = self.conv1[0], self.conv1[1:]
        assert isinstance(conv, nn.Conv2d)
        width, pad = x.shape[1], conv.padding
        there = F.conv2d(self.where.to(x.dtype), conv.weight[:, width:], padding=pad)  # the same for every image
        y: Tensor = rest(F.conv2d(x, conv.weight[:, :width], padding=pad) + there)
        return y


class Neck(nn.Module):
    """F_c of Eq. 11. Submodules are named as in the released heads, so that their checkpoints map one to one."""

    def __init__(self, channels: tuple[int, int, int], width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.fusion3, self.fusion4, self.fusion5 = SentenceGate(width), SentenceGate(width), SentenceGate(width)
        self.txt_proj = nn.Linear(channels[2], width)
        self.f3_proj, self.f4_proj = conv_block(channels[0], width), conv_block(channels[1], width)
        self.f5_proj = deconv_block(channels[2], width)
        self.aggr = conv_block(3 * width, width)
        self.coordconv = nn.Sequential(Coordinates(width, grid), conv_block(width, width, 3))

    def forward(self, levels: tuple[Tensor, Tensor, Tensor], sentence: Tensor) -> Tensor:
        """levels: 3 x (B, channels[i], H, W), sentence (B, channels[2]) -> (B, width, H, W)."""
        token = self.txt_proj(sentence)
        maps = [
            gate(project(level), token)
            for level, project, gate in zip(
                levels,
                (self.f3_proj, self.f4_proj, self.f5_proj),
                (self.fusion3, self.fusion4, self.fusion5),
                strict=True,
            )
        ]
        fused: Tensor = self.coordconv(self.aggr(torch.cat(maps, 1)))
        return fused
