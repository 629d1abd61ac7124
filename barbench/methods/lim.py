"""LIM, the local intertwined module (Eq. 2, 3): words enter the vision tower, the class token enters the text tower."""

from typing import ClassVar, Literal

from torch import nn

from barbench.methods.base import Component
from barbench.methods.domains import BOTH, Size, Towers, checked
from barbench.models.hooks import Carry
from barbench.models.stream import Step, Stream
from barbench.models.towers.base import Backbone


def bottleneck(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, ReLU, Linear: (..., inputs) -> (..., outputs); weights start at N(0, 0.02), biases at 0."""
    down = nn.Linear(inputs, hidden)
    up = nn.Linear(hidden, outputs)
    for linear in (down, up):
        nn.init.normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(down, nn.ReLU(), up)


class LIM(Component):
    """Vision block i sees [cls, P(T_{i-1}), patches] (Eq. 2), text block i sees [Q(cls_{i-1}), T] (Eq. 3).

    The inserted tokens are made for each block from the other tower's output; their own outputs are dropped. P and Q
    are one bottleneck each, shared by all blocks. All L words are inserted, padding included, as in the released code
    (the paper leaves this open). Not an identity at the start: every token attends to the inserted ones, which moves
    the logits by a seventh of their largest value.

    Args:
        hidden: units of the bottlenecks P and Q.
        into: the towers that tokens are inserted into. The released code has ("vision",).
        every: `block`: new tokens for every block. `input`: tokens are made once, from the embeddings, and then pass
            through the tower like any other token (the released code).
        padding: `see`: patches attend to padding. `mask`: they do not.
    """

    label: ClassVar[str] = "LIM"

    @checked
    def __init__(
        self,
        hidden: Size = 32,
        into: Towers = BOTH,
        every: Literal["block", "input"] = "block",
        padding: Literal["see", "mask"] = "see",
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.into = frozenset(into)
        self.every = every
        self.padding = padding

    def attach(self, backbone: Backbone) -> None:
        """Allocate P (D -> hidden -> C) and Q (C -> hidden -> D), for the towers of `into`."""
        vision = backbone.vision.width
        text = backbone.text.width
        if "vision" in self.into:
            self.to_vision = bottleneck(text, self.hidden, vision)
        if "text" in self.into:
            self.to_text = bottleneck(vision, self.hidden, text)

    def before_block(self, step: Step, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Insert the projected words (B, L, C) into vision and the projected class token (B, 1, D) into text.

        A tower that pauses in this step receives no tokens.
        """
        if step.number and self.every == "input":
            return vision, text
        # Both towers' outputs of the block before. A view of cls would keep all tokens alive until the backward pass.
        words = text.body
        cls = vision.cls.clone()
        # Eq. 2: [cls, T'_{i-1}, patches], with T' = P(T).
        if "vision" in self.into and step.vision is not None:
            hidden = text.pad if self.padding == "mask" else None
            vision = vision.insert(self.label, self.to_vision(words), hidden)
        # Eq. 3: [cls'_{i-1}, T], with cls' = Q(cls).
        if "text" in self.into and step.text is not None:
            text = text.insert(self.label, self.to_text(cls))
        return vision, text
