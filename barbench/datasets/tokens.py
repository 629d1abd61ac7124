"""Expressions to token ids of a fixed length, cut visibly. Used by `datasets.samples`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Encoded(NamedTuple):
    """`ids` int64 (B, L); `truncated` bool (B,): the expression was longer than the context."""

    ids: Tensor
    truncated: Tensor


@dataclass(frozen=True)
class Tokens:
    """`tokenizer(texts, length)` gives int64 (B, length), zero-padded, as open_clip's do.

    `length` counts the start and end tokens too.
    """

    tokenizer: Callable[[list[str], int], Tensor]
    length: int

    def __call__(self, texts: list[str]) -> Tensor:
        """int64 (B, L). An expression that is too long keeps its first tokens, and its end-of-text token last."""
        return self.encode(texts).ids

    def truncated(self, text: str) -> bool:
        """Whether `text` does not fit."""
        return bool(self.encode([text]).truncated[0])

    def encode(self, texts: list[str]) -> Encoded:
        """Ids and which texts were cut: asked for one place more, a text that does not fit fills that place too."""
        if not texts:
            return Encoded(torch.zeros(0, self.length, dtype=torch.long), torch.zeros(0, dtype=torch.bool))
        wide = self.tokenizer(texts, self.length + 1)
        ids, over = wide[:, :-1].clone(), wide[:, -1]
        truncated = over != 0
        ids[truncated, -1] = over[truncated]
        return Encoded(ids, truncated)
