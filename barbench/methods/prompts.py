"""Learned tokens: VPT, shallow and deep (Jia et al., ECCV 2022), and independent deep prompts in both towers (IVLP)."""

import math
from typing import ClassVar, Literal

import torch
from torch import nn

from barbench.methods.base import Component
from barbench.methods.domains import DropoutRate, Size, Towers, checked
from barbench.methods.sites import chosen
from barbench.models.efficient.dropout import Dropout
from barbench.models.hooks import Carry
from barbench.models.stream import Step, Stream, TowerName
from barbench.models.towers.base import Backbone


class Prompts(Component):
    """`count` learned tokens before block 0; with `depth` J > 1 replaced by others before each of the blocks 1 .. J-1.

    After block J-1 the last ones stay. They sit between the class token and the patches, after the norm in front
    of the blocks; in the text tower first, without a position, where every word sees them (the start token, too) and
    they see each other. Not an identity at the start.

    The method `deep-prompts` is MaPLe's without the coupling: 2 tokens in each tower before 9 blocks, all random. The
    configuration that was published for it (IVLP) has a depth of 12, `prompts.depth=12`, and starts the words' first
    tokens at the embeddings of "a photo of a", which has no option here; `maple` starts so.

    Args:
        count: n tokens in each tower.
        depth: J; None: every block. A tower with fewer blocks takes as many as it has.
        init: `uniform`: VPT's, within sqrt(6 / (3 p^2 + d)) for patches of p pixels and width d; `normal`: sd 0.02.
        dropout: of the tokens, in training.
        towers: which towers receive them. VPT knows vision alone, hence the default.
    """

    label: ClassVar[str] = "Prompts"
    crosses: ClassVar[bool] = False  # each tower has prompts of its own, which depend on no features

    @checked
    def __init__(
        self,
        count: Size = 50,
        depth: Size | None = None,
        init: Literal["uniform", "normal"] = "uniform",
        dropout: DropoutRate = 0.0,
        towers: Towers = ("vision",),
    ) -> None:
        super().__init__()
        self.count = count
        self.depth = depth
        self.init = init
        self.towers = frozenset(towers)
        self.dropout = Dropout(dropout)

    def attach(self, backbone: Backbone) -> None:
        """Allocate the prompts (J, n, D) of each chosen tower."""
        self.prompts = nn.ParameterDict()
        for tower in chosen(backbone, self.towers):
            depth = tower.depth if self.depth is None else min(self.depth, tower.depth)
            prompts = torch.empty(depth, self.count, tower.width)
            if self.init == "uniform":
                bound = math.sqrt(6 / (3 * backbone.vision.patch**2 + tower.width))
                prompts.uniform_(-bound, bound)
            else:
                prompts.normal_(std=0.02)
            self.prompts[tower.name] = nn.Parameter(prompts)

    def before_block(self, step: Step, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Insert this depth's prompts (B, n, D) into each chosen tower, in place of those before."""
        return self._insert("vision", step.vision, vision), self._insert("text", step.text, text)

    def _insert(self, tower: TowerName, block: int | None, stream: Stream) -> Stream:
        if tower not in self.towers or block is None or block >= len(self.prompts[tower]):
            return stream
        prompts = self.prompts[tower][block].expand(len(stream.tokens), -1, -1)
        return stream.insert(self.label, self.dropout(prompts))
