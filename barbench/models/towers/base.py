"""What the forward pass needs to know of a frozen encoder, whichever library it comes from."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import torch.nn.functional as F
from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.models.stream import LinearRole, Project, Site, Stream, TowerName, unchanged
from barbench.spec.backbone import CLIP_NORMALIZATION, HeadSpec, Normalization

POSITIONAL = ("positional_embedding", "pos_embed")
"""How the parameter names of learned positional embeddings end."""


class Linear(NamedTuple):
    """A frozen linear map: weight (D_out, D_in) and bias (D_out,), or None."""

    weight: Tensor
    bias: Tensor | None


class Level(NamedTuple):
    """A feature map: its channels, and its rows and columns."""

    width: int
    grid: tuple[int, int]


def _refuse() -> NoReturn:
    raise UsageError("a ResNet has no transformer blocks")


class Tower(nn.Module, ABC):
    """A stack of pre-norm transformer blocks, each of two residual branches.

    A tower of another kind, a ResNet, has none of `norm`, `attended`, `out`, `mlp` and `linear`.

    Attributes:
        name: `vision` or `text`.
        width: channels D of the tokens.
        depth: number of blocks.
        heads: attention heads of a block.
        maps: the roles of a block's linear maps.
        outer_norms: the sites outside the blocks that have a norm.
    """

    name: TowerName
    width: int
    depth: int
    heads: int
    maps: tuple[LinearRole, ...] = ("q", "k", "v", "out", "up", "down")
    outer_norms: tuple[Site, ...] = ()

    @abstractmethod
    def embed(self, inputs: Tensor, project: Project = unchanged) -> Stream:
        """Turn the input into tokens with positional encodings.

        Args:
            inputs: image (B, 3, S, S) or token ids (B, L).
            project: called on the output of a norm after them, where there is one.

        Returns:
            The tokens that enter the first block, (B, T, D).
        """

    def norm(self, site: Site, x: Tensor) -> Tensor:
        """The norm in front of a branch, of the tokens: (B, T, D) -> (B, T, D)."""
        _refuse()

    def attended(self, site: Site, stream: Stream, xn: Tensor, project: Project = unchanged) -> Tensor:
        """The attention branch after its norm, without the out map.

        Args:
            site: the branch; `site.block` says which block.
            stream: the tokens (B, T, D), not normalized, and their attend mask.
            xn: the tokens after the norm (B, T, D).
            project: called on the output of q, k and v.

        Returns:
            The heads of each token side by side, (B, T, D), as the out map takes them.
        """
        _refuse()

    def out(self, site: Site, h: Tensor, project: Project = unchanged) -> Tensor:
        """The out map of the attention branch, and what follows it.

        Args:
            site: the branch; `site.block` says which block.
            h: the result of `attended` (B, T, D).
            project: called on the map's output.

        Returns:
            What the branch adds to the tokens, (B, T, D).
        """
        _refuse()

    def mlp(self, site: Site, xn: Tensor, project: Project = unchanged) -> Tensor:
        """The MLP branch after its norm.

        Args:
            site: the branch; `site.block` says which block.
            xn: the tokens after the norm (B, T, D).
            project: called on the output of each linear map and of the activation.

        Returns:
            What the branch adds to the tokens, (B, T, D).
        """
        _refuse()

    def linear(self, block: int, role: LinearRole) -> Linear:
        """Weight and bias of one of a block's frozen linear maps: views, not copies."""
        _refuse()

    def packed_qkv(self, site: Site, xn: Tensor, packed: Linear, project: Project) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of an attention whose three maps are one matrix.

        Args:
            site: the branch; `site.block` says which block.
            xn: the tokens after the norm (B, T, D).
            packed: the three maps, weight (3 D, D) and bias (3 D,).
            project: called on the output of each map.

        Returns:
            Three times (B, T, D).
        """
        if project is unchanged:
            q, k, v = F.linear(xn, *packed).chunk(3, -1)
            return q, k, v
        # One by one: the keys as a third of one tensor would keep all of it, beside changed queries and values.
        q = project(site, "q", xn, F.linear(xn, *self.linear(site.block, "q")))
        k = project(site, "k", xn, F.linear(xn, *self.linear(site.block, "k")))
        v = project(site, "v", xn, F.linear(xn, *self.linear(site.block, "v")))
        return q, k, v

    def layer_scale(self, site: Site) -> Tensor | None:
        """The gains (D,) that a branch multiplies its output by before it is added to the tokens; None where the block
        has no LayerScale."""
        return None


class VisionTower(Tower):
    """An image encoder.

    Attributes:
        name: `vision`.
        transformer: whether it is a stack of blocks; False for a ResNet, which has stages in their place and neither
            norms nor branches that a component could change.
        grid: rows and columns of patches, the grid of the head; of a ResNet, the middle stage's.
        patch: side of a patch of this grid, in pixels.
        joint: channels E of the last level, after `finish`; of the joint space where the backbone is aligned.
        level_blocks: the blocks, counted from 0, after which the head's first two levels are taken; None: after each
            third of the depth.
    """

    name: TowerName = "vision"
    transformer: bool = True
    grid: tuple[int, int]
    patch: int
    joint: int
    level_blocks: tuple[int, int] | None = None

    def after(self, block: int) -> Level:
        """The patches' channels and grid after a block, counted from 0; the same for every block of a transformer."""
        return Level(self.width, self.grid)

    @property
    def levels(self) -> tuple[Level, Level, Level]:
        """What the head is given: after `level_blocks`, and at the end in the joint space."""
        thirds = (self.depth // 3 - 1, self.depth * 2 // 3 - 1)
        first, second = map(self.after, self.level_blocks or thirds)
        last = self.after(self.depth - 1)
        return first, second, Level(self.joint, last.grid)

    def head_modules(self) -> list[nn.Module]:
        """Parts of it that no pretrained weights hold: they are trained and count as head."""
        return []

    def training_modules(self) -> list[nn.Module]:
        """Parts of it that are in training mode while the segmenter trains: by default what counts as head."""
        return self.head_modules()

    def stage(self, block: int, stream: Stream) -> Stream:
        """One stage, counted from 0, of a tower that is no transformer: from the tokens before to those after it."""
        raise NotImplementedError

    @abstractmethod
    def finish(self, x: Tensor, project: Project = unchanged) -> Tensor:
        """Final norm and projection of the last block's tokens into the joint space, (B, T, D) -> (B, T, E); `project`
        is called on the norm's output."""


class TextTower(Tower):
    """A text encoder.

    Attributes:
        name: `text`.
        context_length: the longest text, in tokens.
        joint: channels of a word after `project`.
    """

    name: TowerName = "text"
    context_length: int
    joint: int

    @abstractmethod
    def finish(self, x: Tensor, project: Project = unchanged) -> Tensor:
        """Final norm of the last block's words, (B, L, D) -> (B, L, D); `project` is called on its output."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """Words in the joint space: the output of `finish` (B, L, D) -> (B, L, E)."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """Two frozen encoders, and what belongs to them.

    Attributes:
        name: what `load_backbone` was called with.
        weights: which weights, or the file.
        vision: the image encoder.
        text: the text encoder.
        image_size: side S of the square images, in pixels.
        tokenizer: `tokenizer(texts, context_length)` gives int64 ids (B, context_length).
        head: sizes of the segmentation head.
        head_weights: a trained head that ships with the backbone; None: there is none.
        normalization: of the pixels.
        aligned: whether words and patches share a joint space, so that their features can be compared.
    """

    name: str
    weights: str
    vision: VisionTower
    text: TextTower
    image_size: int
    tokenizer: Callable[..., Tensor]
    head: HeadSpec
    head_weights: Path | None = None
    normalization: Normalization = CLIP_NORMALIZATION
    aligned: bool = True
