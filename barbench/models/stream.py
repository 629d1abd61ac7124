"""What travels through the frozen encoders: `Site` names a place, `Stream` carries the tokens, `Trace` is what comes
out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TowerName = Literal["vision", "text"]
Branch = Literal["attn", "mlp"]
End = Literal["stem", "end"]
LinearRole = Literal["q", "k", "v", "out", "up", "gate", "down"]
Role = LinearRole | Literal["norm", "act"]
Roles = frozenset[tuple[TowerName, Role]]
ATTENTION_ROLES: tuple[Role, ...] = ("q", "k", "v", "out")
MLP_ROLES: tuple[Role, ...] = ("up", "gate", "act", "down")
ROLES: tuple[Role, ...] = ("norm", *ATTENTION_ROLES, *MLP_ROLES)


class Site(NamedTuple):
    """Address of one residual branch: `block` counts from 0.

    The norms outside the blocks have an address too: (tower, -1, "stem") before the first block, (tower, depth, "end")
    after the last one.
    """

    tower: TowerName
    block: int
    branch: Branch | End

    @property
    def key(self) -> str:
        """The site as a module name, `vision-3-attn`."""
        return f"{self.tower}-{self.block}-{self.branch}"


class Step(NamedTuple):
    """One step of the lockstep walk: the block that runs next in each tower, None where that tower rests."""

    number: int
    vision: int | None
    text: int | None


Project = Callable[[Site, Role, Tensor, Tensor], Tensor]
"""(site, role, input (B, T, D_in), output (B, T, D_out)) -> output, at each place that `Hooks.project` names."""


def unchanged(site: Site, role: Role, x: Tensor, y: Tensor) -> Tensor:
    """The projection as the frozen weights make it."""
    return y


@dataclass(frozen=True, slots=True)
class Stream:
    """Tokens of one tower in flight, ordered [prefix, guests, body].

    tokens: (B, prefix + guests + N, D), where the body is the N patches (vision) or the L words (text).
    prefix: 1 for the class token (vision), 0 (text).
    guests: (owner, count) of the tokens that components inserted; they never leave the tower.
    mask: additive attention mask, broadcastable to (B, heads, T, T) over all T tokens, or None.
    pad: (B, L) True where a word is padding (text only).
    """

    tokens: Tensor
    prefix: int
    guests: tuple[tuple[str, int], ...] = ()
    mask: Tensor | None = None
    pad: Tensor | None = None

    @property
    def front(self) -> int:
        """How many tokens precede the body."""
        return self.prefix + sum(count for _, count in self.guests)

    @property
    def first(self) -> Tensor:
        """The prefix tokens, (B, prefix, D)."""
        return self.tokens[:, : self.prefix]

    @property
    def body(self) -> Tensor:
        """Patches or words, (B, N, D)."""
        return self.tokens[:, self.front :]

    @property
    def native(self) -> Tensor:
        """Everything but the guests, (B, prefix + N, D)."""
        return torch.cat([self.first, self.body], 1) if self.guests else self.tokens

    def with_body(self, body: Tensor) -> "Stream":
        """The same stream with the body (B, N, D) exchanged."""
        front = self.front
        return replace(self, tokens=torch.cat([self.tokens[:, :front], body], 1) if front else body)

    def repeated(self, rows: Tensor) -> "Stream":
        """The stream whose row i is row rows[i] of this one; `rows` int64 (B,)."""
        mask = self.mask
        if mask is not None and mask.ndim == 4 and len(mask) > 1:  # its own for every row
            mask = mask[rows]
        return replace(self, tokens=self.tokens[rows], mask=mask, pad=None if self.pad is None else self.pad[rows])

    def invite(self, owner: str, guests: Tensor, hidden: Tensor | None = None) -> "Stream":
        """Seat `owner`'s guests (B, G, D) before the body; guests that `owner` already has there are replaced.

        Guests carry no position. Everybody sees them, except those that `hidden` (B, G) marks; where the tower is
        causal, guests see only guests. The mask is made once: replacing guests by as many others keeps it, `hidden`
        included.
        """
        count, start = guests.shape[1], self.prefix
        for name, old in self.guests:
            if name == owner:
                if old != count:
                    raise ValueError(f"{owner} replaces {old} guests by {count}")
                tokens = torch.cat([self.tokens[:, :start], guests, self.tokens[:, start + old :]], 1)
                return replace(self, tokens=tokens)
            start += old
        tokens = torch.cat([self.tokens[:, :start], guests, self.tokens[:, start:]], 1)
        mask = self._extended(start, count, hidden)
        return replace(self, tokens=tokens, guests=(*self.guests, (owner, count)), mask=mask)

    def _extended(self, start: int, count: int, hidden: Tensor | None) -> Tensor | None:
        """The mask with `count` new tokens at `start`."""
        total, never = self.tokens.shape[1] + count, float("-inf")
        mask = self.mask
        if mask is not None:
            before, after = mask[..., :start], mask[..., start:]
            mask = torch.cat([before, before.new_zeros(*mask.shape[:-1], count), after], -1)
            if mask.shape[-2] > 1:  # one row a query: the new rows see the guests alone
                rows = mask.new_full((*mask.shape[:-2], count, total), never)
                rows[..., self.prefix : start + count] = 0.0
                mask = torch.cat([mask[..., :start, :], rows, mask[..., start:, :]], -2)
        if hidden is not None:
            columns = F.pad(hidden, (start, total - start - count))[:, None, None]
            blind = torch.zeros(columns.shape, dtype=self.tokens.dtype, device=columns.device).masked_fill(
                columns, never
            )
            mask = blind if mask is None else mask + blind
        return mask


class Trace(NamedTuple):
    """What the encoders hand to the head; every map has the grid of the vision tower.

    image: (B, 3, S, S). levels: vision features after a third and two thirds of the blocks, (B, C, H, W) each, and
    the final ones in the joint space, (B, E, H, W). words: (B, L, D) after the text tower's last norm. joint: (B, L,
    E), the words in the joint space. sentence: (B, E), `joint` at the end-of-text token. pad: (B, L) True where there
    is no word. taps: block (from 0) -> patch features after it, (B, C, H, W), for the blocks that a component asked
    for. tokens: (tower, block) -> all tokens but the inserted ones after that block, (B, prefix + N, D), block -1 being
    the embeddings, where a component asked for them.
    """

    image: Tensor
    levels: tuple[Tensor, Tensor, Tensor]
    words: Tensor
    joint: Tensor
    sentence: Tensor
    pad: Tensor
    taps: Mapping[int, Tensor]
    tokens: Mapping[tuple[TowerName, int], Tensor] = {}


class Fused(NamedTuple):
    """The decoder's query map (B, Q, H, W) and a scalar to add to the loss, or None."""

    query: Tensor
    loss: Tensor | None = None
