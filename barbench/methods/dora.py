"""DoRA: low-rank changes of a map's direction, and its rows' lengths tuned apart (Liu et al., ICML 2024)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from barbench.methods.lora import LoRA, LowRank
from barbench.models.stream import LinearRole
from barbench.models.towers.base import Tower


class Decomposed(nn.Module):
    """y = b + g * ((W + s B A) x), g = magnitude / ||W + s B A|| per output row, the norm detached.

    `magnitude` starts at the row norms of W. From a map's output y: b + g (y - b + s B A x). W and b are looked up in
    the tower each time: they may be tuned as well.
    """

    def __init__(self, pair: LowRank, tower: Tower, block: int, role: LinearRole) -> None:
        super().__init__()
        self.pair = pair
        self._where = (tower, block, role)  # in a tuple: the tower is not its own
        self.magnitude = nn.Parameter(torch.linalg.vector_norm(tower.linear(block, role).weight.detach(), dim=1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The map's input (B, T, in) and output (B, T, out) -> (B, T, out)."""
        tower, block, role = self._where
        frozen = tower.linear(block, role)
        # The length of each row of W + s B A, without a gradient.
        with torch.no_grad():
            a, b = self.pair.factors()
            changed = frozen.weight + self.pair.scale * (b @ a).to(frozen.weight.dtype)
            length = torch.linalg.vector_norm(changed, dim=1)
        gain = (self.magnitude / length).to(y.dtype)
        turned = y + self.pair.product(x)  # with b, which the gain leaves alone
        z: Tensor
        if frozen.bias is None:
            z = gain * turned
        else:
            bias = frozen.bias.to(y.dtype)
            z = torch.addcmul(bias, gain, turned - bias)
        return z


class DoRA(LoRA):
    """LoRA whose rows keep a tuned length, with LoRA's options; identity at the start.

    The norm is computed in every forward pass. With dropout the original feeds the dropped input to W as well; here W
    sees it whole.
    """

    label: ClassVar[str] = "DoRA"

    def _make(self, tower: Tower, block: int, role: LinearRole) -> nn.Module:
        return Decomposed(self._pair(tower, block, role), tower, block, role)
