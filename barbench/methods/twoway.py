"""Two-way prompts: what learned queries gather from one tower enters the other (Prompt-RIS, Shang et al. 2024)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.methods.base import Component
from barbench.methods.domains import BOTH, Size, Towers, checked
from barbench.models.attention import attend
from barbench.models.hooks import Carry
from barbench.models.stream import Step, Stream
from barbench.models.towers.base import Backbone, Tower


class Gather(nn.Module):
    """Cross-attention of learned queries to the tokens of one tower, mapped to the width of the other.

    Four linear maps with bias, no norm and no residual connection; matrices start Xavier-uniform, biases at zero.
    """

    def __init__(self, source: int, width: int, target: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(source, width)
        self.k = nn.Linear(source, width)
        self.v = nn.Linear(source, width)
        self.out = nn.Linear(width, target)
        for linear in (self.q, self.k, self.v, self.out):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, queries: Tensor, tokens: Tensor, pad: Tensor | None) -> Tensor:
        """What the queries (n, source) gather from tokens (B, T, source) -> (B, n, target); no query attends where
        `pad` (B, T) is True."""
        q = self.q(queries).expand(len(tokens), -1, -1)
        mask = None if pad is None else ~pad[:, None, None]
        gathered: Tensor = self.out(attend(q, self.k(tokens), self.v(tokens), self.heads, mask))
        return gathered


class TwoWayPrompts(Component):
    """Before every block, n prompts from the patches are put before the words, and n from the words before the patches.

    Prompt i is CrossAttn(T_i, tokens) of the other tower's tokens, patches without the class token, words with start
    and end; its output is dropped after the block. T_i are learned queries of each block. A reading, since no code is
    public: the paper gives neither the inside of the cross-attention nor sharing, start, padding or counts. Not an
    identity at the start: every token attends to the prompts.

    Args:
        count: n, prompts per block and direction.
        embed: channels of the cross-attention; None: the width of the tower that it reads.
        heads: of the cross-attention, which divide its channels.
        into: the towers that prompts are put into.
        share: whether all blocks share one cross-attention per direction; the queries stay apart.
    """

    label: ClassVar[str] = "Two-way prompts"

    @checked
    def __init__(
        self,
        count: Size = 16,
        embed: Size | None = 32,
        heads: Size = 8,
        into: Towers = BOTH,
        share: bool = False,
    ) -> None:
        super().__init__()
        self.count = count
        self.embed = embed
        self.heads = heads
        self.into = frozenset(into)
        self.share = share

    def attach(self, backbone: Backbone) -> None:
        """Allocate queries (n, source) and a cross-attention for every block of the towers of `into`.

        Args:
            backbone: of the segmenter.

        Raises:
            UsageError: if the heads do not divide the channels of a cross-attention.
        """
        vision = backbone.vision
        text = backbone.text
        if "vision" in self.into:
            self.from_words, self.word_queries = self._allocate(text, vision)
        if "text" in self.into:
            self.from_patches, self.patch_queries = self._allocate(vision, text)

    def _allocate(self, source: Tower, target: Tower) -> tuple[nn.ModuleList, nn.ParameterList]:
        """The cross-attentions, one where they are shared, and the queries of each block of the target."""
        width = source.width if self.embed is None else self.embed
        if width % self.heads:
            raise UsageError(f"two-way prompts: their {self.heads} heads do not divide twoway.embed, which is {width}")
        attentions = 1 if self.share else target.depth
        made = [Gather(source.width, width, target.width, self.heads) for _ in range(attentions)]
        queries = [nn.Parameter(0.02 * torch.randn(self.count, source.width)) for _ in range(target.depth)]
        return nn.ModuleList(made), nn.ParameterList(queries)

    def before_block(self, step: Step, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Put the prompts (B, n, C) into vision and (B, n, D) into text; a tower that pauses receives none."""
        # Both towers' outputs of the block before.
        words = text.body
        patches = vision.body
        if "vision" in self.into and step.vision is not None:
            gather = self.from_words[0 if self.share else step.vision]
            vision = vision.insert(self.label, gather(self.word_queries[step.vision], words, text.pad))
        if "text" in self.into and step.text is not None:
            gather = self.from_patches[0 if self.share else step.text]
            text = text.insert(self.label, gather(self.patch_queries[step.text], patches, None))
        return vision, text
