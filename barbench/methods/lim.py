"""LIM, the local intertwined module (Eq. 2, 3): words visit the vision tower, the class token visits the text tower."""

from typing import ClassVar, Literal

from torch import nn

from barbench.errors import UsageError
from barbench.methods.base import BOTH, Component
from barbench.models.hooks import Carry
from barbench.models.stream import Step, Stream, TowerName
from barbench.models.towers.base import Backbone


def bottleneck(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, ReLU, Linear; weights start at N(0, 0.02), biases at 0."""
    down, up = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
    for linear in (down, up):
        nn.init.normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(down, nn.ReLU(), up)


class LIM(Component):
    """Vision block i sees [cls, P(T_{i-1}), patches], text block i sees [Q(cls_{i-1}), T].

    Guests are made anew for each block from the other tower's output; their own outputs are dropped. P and Q are one
    bottleneck of `hidden` units each, shared by all blocks. All L positions are guests, padding included, as in the
    released code (a choice that the paper leaves open): `padding="mask"` hides padding from the patches. `into`:
    which towers receive guests. `every="input"`: guests are made once, from the embeddings, and then walk along like
    any token.
    """

    label: ClassVar[str] = "LIM"

    def __init__(
        self,
        hidden: int = 32,
        into: tuple[TowerName, ...] = BOTH,
        every: Literal["block", "input"] = "block",
        padding: Literal["see", "mask"] = "see",
    ) -> None:
        super().__init__()
        if not into:
            raise UsageError("LIM must enter at least one tower")
        self.hidden, self.into, self.every, self.padding = hidden, frozenset(into), every, padding

    def attach(self, backbone: Backbone) -> None:
        vision, text = backbone.vision.width, backbone.text.width
        if "vision" in self.into:
            self.to_vision = bottleneck(text, self.hidden, vision)
        if "text" in self.into:
            self.to_text = bottleneck(vision, self.hidden, text)

    def before_block(self, step: Step, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        if step.number and self.every == "input":
            return vision, text
        words, cls = text.body, vision.first.clone()  # a view would keep all tokens alive until the backward pass
        if "vision" in self.into and step.vision is not None:
            vision = vision.invite(self.label, self.to_vision(words), text.pad if self.padding == "mask" else None)
        if "text" in self.into and step.text is not None:
            text = text.invite(self.label, self.to_text(cls))
        return vision, text
