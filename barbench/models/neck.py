"""Cross-modal neck (appendix C, Eq. 11): three feature levels and the sentence become one map with coordinates."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_block(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, BatchNorm, ReLU: (B, inputs, H, W) -> (B, outputs, H / stride, W / stride).

    The side of the kernel is odd, or the stride.
    """
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - stride) // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def deconv_block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Transposed convolution without bias, BatchNorm, ReLU: (B, inputs, H, W) -> (B, outputs, stride * H, stride * W).

    With a stride of 1 it is a `conv_block` that stores its weight as (inputs, outputs, 1, 1), as some layers of
    released heads do. The stride is the side of the kernel, too.
    """
    conv = nn.ConvTranspose2d(inputs, outputs, stride, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class SentenceGate(nn.Module):
    """x * MHA(query=x, key=t, value=t) with one text token t: the MHSA of appendix C's neck.

    A softmax over a single key is 1, so the attention's output is W_o (W_v t) at every position. The weights keep the
    layout of `nn.MultiheadAttention`, so that released checkpoints load; the query and key rows receive zero gradient.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(width, 1)

    def forward(self, x: Tensor, token: Tensor) -> Tensor:
        """Gate every position of a map (B, width, H, W) by the sentence (B, width) -> (B, width, H, W)."""
        attn = self.multihead_attn
        width = attn.embed_dim
        value = F.linear(token, attn.in_proj_weight[2 * width :], attn.in_proj_bias[2 * width :])
        gate: Tensor = attn.out_proj(value)
        return x * gate[:, :, None, None]


class Coordinates(nn.Module):
    """Eq. 11, F_c = Conv([F_f, F_coord]): x and y in [-1, 1] are appended to a map, and a 3x3 convolution follows."""

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = conv_block(width + 2, width, 3)
        rows = torch.linspace(-1, 1, grid[0])
        columns = torch.linspace(-1, 1, grid[1])
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        self.where: Tensor
        self.register_buffer("where", torch.stack([x, y])[None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """F_f (B, width, H, W) -> F_c (B, width, H, W)."""
        conv = self.conv1[0]
        norm_and_relu = self.conv1[1:]
        assert isinstance(conv, nn.Conv2d)
        width = x.shape[1]
        pad = conv.padding
        # Convolution is linear: the coordinates' part is the same for every image, and computed once per batch.
        coordinates = F.conv2d(self.where.to(x.dtype), conv.weight[:, width:], padding=pad)
        y: Tensor = norm_and_relu(F.conv2d(x, conv.weight[:, :width], padding=pad) + coordinates)
        return y


class Neck(nn.Module):
    """The neck of ETRIS, which the paper follows: the sentence gates three levels, which become one map (Eq. 11).

    Submodules are named as in the released heads, so that their checkpoints map one to one.

    Args:
        channels: channels of the three feature levels.
        sentence: channels of the sentence embedding; those of the last level where words and patches share a space.
        width: channels of the output.
        grid: rows and columns of the middle level and of the output.
        strides: how many times finer the first level is, and coarser the last: 2 and 2 for a ResNet.
        residual: whether what the last two convolutions give is added to their input, as in DETRIS.
    """

    def __init__(
        self,
        channels: tuple[int, int, int],
        sentence: int,
        width: int,
        grid: tuple[int, int],
        strides: tuple[int, int] = (1, 1),
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        fine, coarse = strides
        self.fusion3 = SentenceGate(width)
        self.fusion4 = SentenceGate(width)
        self.fusion5 = SentenceGate(width)
        self.txt_proj = nn.Linear(sentence, width)
        self.f3_proj = conv_block(channels[0], width, fine, fine)
        self.f4_proj = conv_block(channels[1], width)
        self.f5_proj = deconv_block(channels[2], width, coarse)
        self.aggr = conv_block(3 * width, width)
        self.coordconv = nn.Sequential(Coordinates(width, grid), conv_block(width, width, 3))

    def forward(self, levels: tuple[Tensor, Tensor, Tensor], sentence: Tensor) -> Tensor:
        """From three feature levels and the sentence to the map F_c.

        Args:
            levels: F_v^i, three maps (B, channels[i], H, W), the first and the last finer and coarser by `strides`.
            sentence: sentence embedding (B, sentence).

        Returns:
            F_c, (B, width, H, W).
        """
        token = self.txt_proj(sentence)
        # F_f: each level is brought to one width, gated by the sentence, and joined with the others.
        f3, f4, f5 = levels
        gated3 = self.fusion3(self.f3_proj(f3), token)
        gated4 = self.fusion4(self.f4_proj(f4), token)
        gated5 = self.fusion5(self.f5_proj(f5), token)
        fused = self.aggr(torch.cat([gated3, gated4, gated5], 1))
        # Eq. 11: F_c = Conv([F_f, F_coord]), and one more convolution, as in the released heads.
        query: Tensor = self.coordconv(fused)
        if self.residual:
            query = query + fused
        return query


class PlainNeck(nn.Module):
    """No neck: one 1x1 convolution with bias of the last level alone, W v_5 + b. This reading is ours.

    It is there also where both widths are equal, so that backbones compare.

    Args:
        inputs: channels of the last level.
        width: channels of the output.
        grid: rows and columns of the output, to which a ResNet's coarser last level is upsampled.
    """

    def __init__(self, inputs: int, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.f5_proj = nn.Conv2d(inputs, width, 1)
        self.grid = grid

    def forward(self, levels: tuple[Tensor, Tensor, Tensor], sentence: Tensor) -> Tensor:
        """From the last of three levels, (B, inputs, H_5, W_5), to F_c, (B, width, H, W); nothing else is read."""
        query: Tensor = self.f5_proj(levels[2])
        if tuple(query.shape[2:]) != self.grid:
            query = F.interpolate(query, self.grid, mode="bilinear", align_corners=False)
        return query
