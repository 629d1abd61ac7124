"""What the walk needs to know of a frozen encoder, whatever library it comes from."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from barbench.models.stream import Project, Site, Stream, TowerName, unchanged
from barbench.models.towers.configs import HeadSpec

POSITIONAL = ("positional_embedding", "pos_embed")
"""How the names of learned positions end."""


class Tower(nn.Module, ABC):
    """A stack of pre-norm transformer blocks, each two residual branches. `width` D, `depth` in blocks."""

    name: TowerName
    width: int
    depth: int

    @abstractmethod
    def embed(self, inputs: Tensor) -> Stream:
        """Image (B, 3, S, S) or token ids (B, L) to tokens with positions."""

    @abstractmethod
    def attention(self, site: Site, stream: Stream, project: Project = unchanged) -> Tensor:
        """The attention branch with its norm: what block `site.block` adds to the tokens, (B, T, D)."""

    @abstractmethod
    def mlp(self, site: Site, x: Tensor, project: Project = unchanged) -> Tensor:
        """The MLP branch with its norm, (B, T, D) -> (B, T, D)."""


class VisionTower(Tower):
    """`grid` (rows, columns) of patches of `patch` pixels; `joint` is the width E of the joint space."""

    name: TowerName = "vision"
    grid: tuple[int, int]
    patch: int
    joint: int

    @abstractmethod
    def finish(self, x: Tensor) -> Tensor:
        """Final norm and projection into the joint space, (B, T, D) -> (B, T, E)."""


class TextTower(Tower):
    """`context` is the longest text it can take, in tokens."""

    name: TowerName = "text"
    context: int

    @abstractmethod
    def finish(self, x: Tensor) -> Tensor:
        """Final norm, (B, L, D) -> (B, L, D)."""

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
