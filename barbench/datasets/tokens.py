"""Expressions to token ids of a fixed length; expressions that are cut are reported. Used by `datasets.samples`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class TokenIds(NamedTuple):
    """Token ids, and which texts were cut.

    Attributes:
        ids: int64 (B, L).
        truncated: bool (B,), true where the expression is longer than the context.
    """

    ids: Tensor
    truncated: Tensor


@dataclass(frozen=True)
class Tokens:
    """A tokenizer with a fixed context length.

    Attributes:
        tokenizer: (texts, length) to int64 (B, length), zero-padded, as open_clip's tokenizers.
        length: the context length L in tokens, start and end token included.
    """

    tokenizer: Callable[[list[str], int], Tensor]
    length: int

    def __call__(self, texts: list[str]) -> Tensor:
        """Token ids of B texts, int64 (B, L). One that is too long keeps its first tokens, and its end-of-text token
        comes last."""
        return self.encode(texts).ids

    def encode(self, texts: list[str]) -> TokenIds:
        """Token ids of each text, and which texts were cut.

        Each text is tokenized to one token more than the context: a text that does not fit fills that place too.
        """
        if not texts:
            return TokenIds(torch.zeros(0, self.length, dtype=torch.long), torch.zeros(0, dtype=torch.bool))
        wide = self.tokenizer(texts, self.length + 1)
        ids = wide[:, :-1].clone()
        # The tokenizer puts the end-of-text token last, where a cut text keeps it.
        last = wide[:, -1]
        truncated = last != 0
        ids[truncated, -1] = last[truncated]
        return TokenIds(ids, truncated)
