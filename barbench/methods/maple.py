"""MaPLe: deep prompts of both towers, the vision's made from the text's (Khattak et al., CVPR 2023)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from barbench.methods.base import Component
from barbench.methods.domains import Size, checked
from barbench.models.hooks import Carry
from barbench.models.stream import Step, Stream
from barbench.models.towers.base import Backbone

FIRST_WORDS = "a photo of a"


class MaPLe(Component):
    """Before each of the first J blocks text block j receives P_j (n x D) and vision block j receives F_j P_j.

    The coupling is between parameters, not between features: no text reaches the vision tower. P_1 starts at the
    embeddings of the first n words of "a photo of a" (n <= 4), the others at N(0, 0.02). Not an identity.

    A reading of ours, as for LIM: the tokens come first, carry no position and enter the vision tower after its first
    norm; in the original the text's take the positions behind the start token, which therefore does not see them, and
    each sees only those before it; the vision's come after the patches.

    Args:
        count: n tokens.
        depth: J blocks of both towers; a tower with fewer blocks has as many.
        shared: one F for all depths (ours) in place of one each.
    """

    label: ClassVar[str] = "MaPLe"
    crosses: ClassVar[bool] = False  # prompts depend on no features

    @checked
    def __init__(self, count: Size = 2, depth: Size = 9, shared: bool = False) -> None:
        super().__init__()
        self.count = count
        self.depth = depth
        self.shared = shared

    def attach(self, backbone: Backbone) -> None:
        """Allocate the prompts P_j (J, n, D) and the couplings F_j (D -> C)."""
        vision = backbone.vision
        text = backbone.text
        depth = min(self.depth, vision.depth, text.depth)
        prompts = torch.randn(depth, self.count, text.width) * 0.02
        first = _embedded(backbone, self.count)
        if first is not None:
            prompts[0] = first
        self.prompts = nn.Parameter(prompts)
        couplings = 1 if self.shared else depth
        self.couplings = nn.ModuleList(nn.Linear(text.width, vision.width) for _ in range(couplings))

    def before_block(self, step: Step, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Insert P_j (B, n, D) into text and F_j P_j (B, n, C) into vision, for the first J blocks."""
        depth = len(self.prompts)
        if step.vision is not None and step.vision < depth:
            coupling = self.couplings[0 if self.shared else step.vision]
            prompts = coupling(self.prompts[step.vision])
            vision = vision.insert(self.label, prompts.expand(len(vision.tokens), -1, -1))
        if step.text is not None and step.text < depth:
            text = text.insert(self.label, self.prompts[step.text].expand(len(text.tokens), -1, -1))
        return vision, text


def _embedded(backbone: Backbone, count: int) -> Tensor | None:
    """Embeddings (n, D) of the first words, where there are as many and the tower knows them."""
    table = getattr(backbone.text, "token_embedding", None)
    # On the CPU the ids can be read even when the method is built on the meta device.
    with torch.device("cpu"):
        ids = backbone.tokenizer([FIRST_WORDS], 16)[0, 1:]
    # The end token has the largest id.
    words = ids[: int(ids.argmax())]
    if table is None or count > len(words) or int(words.max()) >= table.num_embeddings:
        return None
    rows: Tensor = table.weight.detach()[words[:count].to(table.weight.device)]
    return rows
