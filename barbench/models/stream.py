"""What the forward pass hands on: `Site` names a branch, `Stream` holds a tower's tokens, `Trace` holds the results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from barbench.models.names import Branch as Branch
from barbench.models.names import LinearRole as LinearRole
from barbench.models.names import Role as Role
from barbench.models.names import TowerName as TowerName

End = Literal["stem", "end"]
Roles = frozenset[tuple[TowerName, Role]]
ATTENTION_ROLES: tuple[Role, ...] = ("q", "k", "v", "out")
MLP_ROLES: tuple[Role, ...] = ("up", "gate", "act", "down")
ROLES: tuple[Role, ...] = ("norm", *ATTENTION_ROLES, *MLP_ROLES)

Phase = Literal["out", "mlp"]
PHASES: tuple[Phase, ...] = ("out", "mlp")
"""Moments inside a block: before the out map of the attention, and before the MLP branch."""


class Site(NamedTuple):
    """Address of one residual branch, or of a norm outside the blocks.

    Attributes:
        tower: `vision` or `text`.
        block: counted from 0; -1 at the stem, the depth at the end.
        branch: `attn` or `mlp`; `stem` for the norm before the first block, `end` for the one after the last.
    """

    tower: TowerName
    block: int
    branch: Branch | End

    @property
    def key(self) -> str:
        """The site as a module name, `vision-3-attn`."""
        return f"{self.tower}-{self.block}-{self.branch}"


class Step(NamedTuple):
    """One step of the forward pass, in which each tower runs at most one block.

    Attributes:
        number: counted from 0.
        vision: the vision block that runs next; None where that tower pauses.
        text: the same for text.
    """

    number: int
    vision: int | None
    text: int | None


Project = Callable[[Site, Role, Tensor, Tensor], Tensor]
"""(site, role, input (B, T, D_in), output (B, T, D_out)) -> output, at each place that `Hooks.project` names."""


def unchanged(site: Site, role: Role, x: Tensor, y: Tensor) -> Tensor:
    """Leave a linear map's output y (B, T, D_out) as the frozen weights make it (a `Project`)."""
    return y


@dataclass(frozen=True, slots=True)
class Stream:
    """The tokens of one tower between two blocks, in the order [prefix, inserted, body].

    The body is the N patches (vision) or the L words (text).

    Attributes:
        tokens: (B, prefix + inserted + N, D).
        prefix: 1 for the class token (vision), 0 (text); with DINOv2's registers behind the class token, 5.
        inserted: (owner, count) of the tokens that components have inserted; they never leave the tower.
        mask: additive attention mask, broadcastable to (B, heads, T, T) over all T tokens, or None.
        pad: (B, L), True where a word is padding (text only).
    """

    tokens: Tensor
    prefix: int
    inserted: tuple[tuple[str, int], ...] = ()
    mask: Tensor | None = None
    pad: Tensor | None = None

    @property
    def front(self) -> int:
        """How many tokens precede the body."""
        return self.prefix + sum(count for _, count in self.inserted)

    @property
    def first(self) -> Tensor:
        """The prefix tokens, (B, prefix, D)."""
        return self.tokens[:, : self.prefix]

    @property
    def cls(self) -> Tensor:
        """The class token, (B, 1, D), without the registers that may follow it."""
        return self.tokens[:, : min(1, self.prefix)]

    @property
    def body(self) -> Tensor:
        """Patches or words, (B, N, D)."""
        return self.tokens[:, self.front :]

    @property
    def native(self) -> Tensor:
        """All tokens but the inserted ones, (B, prefix + N, D)."""
        if not self.inserted:
            return self.tokens
        return torch.cat([self.first, self.body], 1)

    def with_body(self, body: Tensor) -> "Stream":
        """The same stream with another body (B, N, D)."""
        front = self.front
        if front:
            body = torch.cat([self.tokens[:, :front], body], 1)
        return replace(self, tokens=body)

    def repeated(self, rows: Tensor) -> "Stream":
        """A stream of B rows, of which row i is row rows[i], int64 (B,), of this one: as for an image with several
        expressions."""
        mask = self.mask
        # A mask of fewer dimensions, or of one row, is the same for all rows.
        if mask is not None and mask.ndim == 4 and len(mask) > 1:
            mask = mask[rows]
        pad = None if self.pad is None else self.pad[rows]
        return replace(self, tokens=self.tokens[rows], mask=mask, pad=pad)

    def insert(self, owner: str, tokens: Tensor, hidden: Tensor | None = None) -> "Stream":
        """Insert tokens before the body; those that `owner` inserted earlier are replaced.

        Inserted tokens carry no positional encoding. Every token attends to them, except to those that `hidden` marks;
        where the tower is causal, inserted tokens attend to inserted tokens only. The mask is made once: replacing
        tokens keeps it, `hidden` included.

        Args:
            owner: name of the component that inserts.
            tokens: (B, G, D).
            hidden: (B, G), True for tokens that no token attends to; None: every token attends to all of them.

        Returns:
            The stream with the tokens inserted after those of other owners.

        Raises:
            ValueError: if `owner` replaces its tokens by another number of tokens.
        """
        # The same owner again: its tokens are replaced where they are, and the mask stays.
        count = tokens.shape[1]
        start = self.prefix
        for name, old in self.inserted:
            if name == owner:
                if old != count:
                    raise ValueError(f"{owner} replaces {old} tokens by {count}")
                replaced = torch.cat([self.tokens[:, :start], tokens, self.tokens[:, start + old :]], 1)
                return replace(self, tokens=replaced)
            start += old

        # A new owner: its tokens follow those of the others.
        longer = torch.cat([self.tokens[:, :start], tokens, self.tokens[:, start:]], 1)
        mask = self._extended(start, count, hidden)
        return replace(self, tokens=longer, inserted=(*self.inserted, (owner, count)), mask=mask)

    def _extended(self, start: int, count: int, hidden: Tensor | None) -> Tensor | None:
        """The mask with `count` new tokens at `start`."""
        total = self.tokens.shape[1] + count
        never = float("-inf")
        mask = self.mask
        if mask is not None:
            # Columns: every token attends to the new ones.
            before = mask[..., :start]
            after = mask[..., start:]
            mask = torch.cat([before, before.new_zeros(*mask.shape[:-1], count), after], -1)
            # Rows, where each query has its own: the new tokens attend to inserted tokens only.
            if mask.shape[-2] > 1:
                rows = mask.new_full((*mask.shape[:-2], count, total), never)
                rows[..., self.prefix : start + count] = 0.0
                mask = torch.cat([mask[..., :start, :], rows, mask[..., start:, :]], -2)
        # Tokens that no token attends to, in each row of the batch.
        if hidden is not None:
            columns = F.pad(hidden, (start, total - start - count))[:, None, None]
            zeros = torch.zeros(columns.shape, dtype=self.tokens.dtype, device=columns.device)
            hidden_mask = zeros.masked_fill(columns, never)
            mask = hidden_mask if mask is None else mask + hidden_mask
        return mask


class Trace(NamedTuple):
    """What the encoders hand to the head; the maps have the grid H x W of the vision tower, those of a ResNet the
    grids of its stages.

    Attributes:
        image: the images (B, 3, S, S).
        levels: F_v: vision features after a third and two thirds of the blocks, (B, C, H, W) each, and the final ones
            in the joint space, (B, E, H, W).
        words: F_l: (B, L, D) after the text tower's last norm.
        joint: the words in the joint space, (B, L, E).
        sentence: `joint` at the end-of-text token, (B, E).
        pad: (B, L), True where there is no word.
        end: int64 (B,), where the end-of-text token is.
        taps: block (from 0) -> patch features after it, (B, C, H, W), for the blocks that a component asked for.
        tokens: (tower, block) -> all tokens but the inserted ones after that block, (B, prefix + N, D), where a
            component asked for them; block -1 is the embeddings.
    """

    image: Tensor
    levels: tuple[Tensor, Tensor, Tensor]
    words: Tensor
    joint: Tensor
    sentence: Tensor
    pad: Tensor
    end: Tensor
    taps: Mapping[int, Tensor]
    tokens: Mapping[tuple[TowerName, int], Tensor] = {}


def at_end(words: Tensor, end: Tensor) -> Tensor:
    """Each text's feature at its end-of-text token: (B, L, D) and int64 (B,) -> (B, D)."""
    return words[torch.arange(len(words), device=words.device), end]


class Fused(NamedTuple):
    """What `Hooks.fuse` gives.

    Attributes:
        query: the decoder's query map (B, Q, H, W).
        loss: a scalar to add to the loss, or None.
    """

    query: Tensor
    loss: Tensor | None = None
