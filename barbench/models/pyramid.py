"""The neck of CRIS (Wang et al., CVPR 2022): the sentence gates the last level, and the others join one by one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.models.neck import Coordinates, conv_block


class PyramidNeck(nn.Module):
    """The neck of CRIS, in place of `Neck`.

    Submodules are named as in the released head, so that its checkpoints map one to one. CRIS has levels of twice, once
    and half the middle grid, from a ResNet; a ViT's levels share one grid. Each level is brought to the middle one's
    grid: averaged down, upsampled, or left as it is. The sentence passes through BatchNorm, so that training needs more
    than one image per batch.

    Args:
        channels: channels of the three feature levels.
        sentence: channels of the sentence embedding; those of the last level where words and patches share a space.
        width: channels of the output.
        grid: rows and columns of the middle level.
    """

    def __init__(self, channels: tuple[int, int, int], sentence: int, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        low = width // 2
        high = 2 * width
        # The last level, gated by the sentence.
        self.txt_proj = nn.Sequential(
            nn.Linear(sentence, high, bias=False), nn.BatchNorm1d(high), nn.ReLU(inplace=True)
        )
        self.f1_v_proj = conv_block(channels[2], high)
        self.norm_layer = nn.Sequential(nn.BatchNorm2d(high), nn.ReLU(inplace=True))
        # The middle level joins it, then the first.
        self.f2_v_proj = conv_block(channels[1], width, 3)
        self.f2_cat = conv_block(high + width, width)
        self.f3_v_proj = conv_block(channels[0], low, 3)
        self.f3_cat = conv_block(low + width, width)
        # One map of all three.
        self.f4_proj5 = conv_block(high, width, 3)
        self.f4_proj4 = conv_block(width, width, 3)
        self.f4_proj3 = conv_block(width, width, 3)
        self.aggr = conv_block(3 * width, width)
        self.coordconv = nn.Sequential(Coordinates(width, grid), conv_block(width, width, 3))

    def forward(self, levels: tuple[Tensor, Tensor, Tensor], sentence: Tensor) -> Tensor:
        """From three levels (B, channels[i], H_i, W_i) and the sentence (B, sentence) to a map (B, width, H_1, W_1)."""
        v3, v4, v5 = levels
        grid = (v4.shape[2], v4.shape[3])
        # The sentence gates the last level.
        f5 = self.norm_layer(self.f1_v_proj(v5) * self.txt_proj(sentence)[..., None, None])
        # The middle level joins, then the first.
        f4 = self.f2_cat(torch.cat([self.f2_v_proj(v4), _upsampled(f5, grid)], 1))
        fine = F.adaptive_avg_pool2d(self.f3_v_proj(v3), grid)
        f3 = self.f3_cat(torch.cat([fine, f4], 1))
        # All three become one map, and coordinates are added (Eq. 11).
        maps = [self.f4_proj3(f3), self.f4_proj4(f4), _upsampled(self.f4_proj5(f5), grid)]
        fused: Tensor = self.coordconv(self.aggr(torch.cat(maps, 1)))
        return fused


def _upsampled(x: Tensor, grid: tuple[int, int]) -> Tensor:
    if tuple(x.shape[2:]) == grid:
        return x
    return F.interpolate(x, grid, mode="bilinear", align_corners=False)
