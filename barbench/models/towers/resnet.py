"""CLIP's ResNet (open_clip's `ModifiedResNet`), stage by stage, with its attention pool used at every position.

As ETRIS and CRIS use it: after stem and first layer, three stages on grids of S/8, S/16 and S/32; the pool has no mean
token, and its positions are resized to the last grid in every forward pass.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from barbench.models.attention import attend
from barbench.models.names import BatchNorms, Connect
from barbench.models.stream import LinearRole, Project, Stream, unchanged
from barbench.models.towers.base import Level, VisionTower
from barbench.models.towers.builder import Builder, Towers
from barbench.models.towers.clip import text_tower
from barbench.models.towers.key_maps import from_hugging_face
from barbench.models.towers.open_clip_model import build_model, fill_model
from barbench.spec.backbone import RESNET_STRIDE


class ResNetVision(VisionTower):
    """Three stages instead of blocks: the tokens of a stage are the cells of its map, row by row; no class token.

    `connect`, a 1x1 convolution with BatchNorm from the last stage to the joint space, runs beside the pool; a ReLU
    follows their sum. No CLIP checkpoint has it. By default it is trained and counts as head, and all other BatchNorms
    keep their statistics, also where their gains are tuned.

    Args:
        visual: the ModifiedResNet; receives `connect`.
        size: side S of the images, a multiple of 32.
    """

    transformer = False
    depth = 3
    maps: tuple[LinearRole, ...] = ()

    def __init__(self, visual: Any, size: int) -> None:
        super().__init__()
        self.visual: Any = visual
        pool = visual.attnpool
        self.width = pool.c_proj.in_features
        self.joint = pool.c_proj.out_features
        self.heads = pool.num_heads
        pool.connect = nn.Sequential(nn.Conv2d(self.width, self.joint, 1, bias=False), nn.BatchNorm2d(self.joint))
        # The head's grid is that of the middle stage, twice as fine as the last one's.
        self.patch = RESNET_STRIDE // 2
        cells = size // RESNET_STRIDE
        self.grid = (2 * cells, 2 * cells)
        self._layers = [visual.layer2, visual.layer3, visual.layer4]
        self._sides = [4 * cells, 2 * cells, cells]
        self._connect: Connect = "train"
        self._batchnorm: BatchNorms = "keep"

    def choose(self, connect: Connect, batchnorm: BatchNorms) -> None:
        """Treat `connect` and the BatchNorms in another way; to be called before anything is trained.

        Args:
            connect: `train`: as head, as in CRIS; `frozen`: random as it is, as in ETRIS; `none`: the pool alone, as in
                CLIP, without the ReLU.
            batchnorm: `keep` their statistics; `train`: with those of the batch while it trains, as both public codes.
        """
        self._connect = connect
        self._batchnorm = batchnorm
        if connect == "none":
            self.visual.attnpool.connect = nn.Sequential()

    def after(self, block: int) -> Level:
        """Width and grid of a stage, counted from 0."""
        side = self._sides[block]
        return Level(self._layers[block][-1].conv3.out_channels, (side, side))

    def head_modules(self) -> list[nn.Module]:
        """`connect`, where it is trained."""
        if self._connect == "train":
            return [self.visual.attnpool.connect]
        return []

    def training_modules(self) -> list[nn.Module]:
        """`connect`, where it is trained, and the BatchNorms, where they see batches."""
        chosen = self.head_modules()
        if self._batchnorm == "train":
            chosen += [module for module in self.visual.modules() if isinstance(module, _BatchNorm)]
        return chosen

    def embed(self, inputs: Tensor, project: Project = unchanged) -> Stream:
        """Stem and first layer: (B, 3, S, S) -> (B, S/4 * S/4, D); no norm follows."""
        return Stream(_cells(self.visual.layer1(self.visual.stem(inputs))), prefix=0)

    def stage(self, block: int, stream: Stream) -> Stream:
        """One stage, which halves the grid: (B, 4 N, D) -> (B, N, D')."""
        side = 2 * self._sides[block]
        return Stream(_cells(self._layers[block](_map(stream.tokens, side))), prefix=0)

    def finish(self, x: Tensor, project: Project = unchanged) -> Tensor:
        """Attention pool at every position, `connect`, ReLU: (B, N, D) -> (B, N, E); no norm is called."""
        pool = self.visual.attnpool
        y = x + self._positions().to(x.dtype)
        pooled: Tensor = pool.c_proj(attend(pool.q_proj(y), pool.k_proj(y), pool.v_proj(y), self.heads))
        if self._connect == "none":
            return pooled
        return F.relu(pooled + _cells(pool.connect(_map(x, self._sides[-1]))))

    def _positions(self) -> Tensor:
        """The pool's positions on the last grid, (N, D), without the mean token's."""
        own = self.visual.attnpool.positional_embedding[1:]
        side = round(len(own) ** 0.5)
        wanted = (self._sides[-1], self._sides[-1])
        resized = F.interpolate(_map(own[None], side), wanted, mode="bicubic", align_corners=False)
        return resized[0].flatten(1).T


def _cells(x: Tensor) -> Tensor:
    """A map (B, D, H, W) as tokens (B, H * W, D)."""
    return x.flatten(2).transpose(1, 2)


def _map(x: Tensor, side: int) -> Tensor:
    """Tokens (B, side * side, D) as a map (B, D, side, side)."""
    return x.transpose(1, 2).reshape(len(x), -1, side, side)


def _wrap(model: Any, size: int, antialias: bool) -> Towers:
    return Towers(ResNetVision(model.visual, size), text_tower(model))


BUILDER = Builder(build_model, fill_model, _wrap, (from_hugging_face,))
