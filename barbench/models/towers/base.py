"""What the walk needs to know of a frozen encoder, whatever library it comes from."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from barbench.models.stream import LinearRole, Project, Site, Stream, TowerName, unchanged
from barbench.models.towers.configs import HeadSpec

POSITIONAL = ("positional_embedding", "pos_embed")
"""How the names of learned positions end."""


class Linear(NamedTuple):
    """A frozen linear map: weight (D_out, D_in), bias (D_out,) or None."""

    weight: Tensor
    bias: Tensor | None


class Tower(nn.Module, ABC):
    """A stack of pre-norm transformer blocks, each two residual branches.

    `width` D, `depth` in blocks, `heads` of the attention, `maps` the roles of a block's linear maps, `ends` the sites
    outside the blocks that have a norm.
    """

    name: TowerName
    width: int
    depth: int
    heads: int
    maps: tuple[LinearRole, ...] = ("q", "k", "v", "out", "up", "down")
    ends: tuple[Site, ...] = ()

    @abstractmethod
    def embed(self, inputs: Tensor, project: Project = unchanged) -> Stream:
        """Image (B, 3, S, S) or token ids (B, L) to tokens with positions; a norm after them is open to `project`."""

    @abstractmethod
    def norm(self, site: Site, x: Tensor) -> Tensor:
        """The norm in front of the branch `site`, (B, T, D) -> (B, T, D)."""

    @abstractmethod
    def attention(self, site: Site, stream: Stream, xn: Tensor, project: Project = unchanged) -> Tensor:
        """What the attention of block `site.block` adds to the stream's tokens, (B, T, D), given them after the
        norm."""

    @abstractmethod
    def mlp(self, site: Site, xn: Tensor, project: Project = unchanged) -> Tensor:
        """What the MLP adds, given its normalised input (B, T, D) -> (B, T, D)."""

    @abstractmethod
    def linear(self, block: int, role: LinearRole) -> Linear:
        """The frozen weights of a linear map: views, not copies."""


class VisionTower(Tower):
    """`grid` (rows, columns) of patches of `patch` pixels; `joint` is the width E of the joint space."""

    name: TowerName = "vision"
    grid: tuple[int, int]
    patch: int
    joint: int

    @abstractmethod
    def finish(self, x: Tensor, project: Project = unchanged) -> Tensor:
        """Final norm, open to `project`, and projection into the joint space, (B, T, D) -> (B, T, E)."""


class TextTower(Tower):
    """`context` is the longest text it can take, in tokens."""

    name: TowerName = "text"
    context: int

    @abstractmethod
    def finish(self, x: Tensor, project: Project = unchanged) -> Tensor:
        """Final norm, open to `project`, (B, L, D) -> (B, L, D)."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """Finished words into the joint space, (B, L, D) -> (B, L, E)."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """Two towers that share a joint space, and what belongs to them.

    `image_size` in pixels; `tokenizer(texts, context_length)` gives int64 ids (B, context_length).
    """

    name: str
    weights: str
    vision: VisionTower
    text: TextTower
    image_size: int
    tokenizer: Callable[..., Tensor]
    head: HeadSpec
