"""Components that choose which of the encoders' own parameters are trained: BitFit, LayerNorms, or both."""

from typing import ClassVar, Literal

from torch import nn

from barbench.methods.base import Component
from barbench.methods.domains import BOTH, Towers, checked
from barbench.methods.sites import norm_names
from barbench.models.towers.base import Backbone


class Select(Component):
    """`bias`: every bias (BitFit, Zaken et al. 2021); `norm`: gains and shifts of every LayerNorm; `norm+bias`: both.

    Found by the end of the name and by the kind of module, so in any tower; EVA's inner norms count. The biases of the
    keys are among them, but inert: the softmax ignores what is the same along all keys. Their gradients are rounding
    noise, which Adam turns into random steps of up to the learning rate. That moves no output, but these numbers are
    not reproduced from one machine to another. The shift of the vision tower's last norm (768 of the 171,008 biases of
    ViT-B/16) is inert in training, too: it adds the same to every patch, which the neck's first BatchNorm takes away.

    Args:
        what: which parameters train.
        towers: whose parameters.
    """

    label: ClassVar[str] = "Select"

    @checked
    def __init__(self, what: Literal["bias", "norm", "norm+bias"] = "bias", towers: Towers = BOTH) -> None:
        super().__init__()
        self.what = what
        self.towers = frozenset(towers)

    def attach(self, backbone: Backbone) -> None:
        """Find the LayerNorms by kind of module."""
        self._norms = norm_names(backbone, self.towers)

    def trains(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether the parameter is among those that `what` chooses."""
        if name.partition(".")[0] not in self.towers:
            return False
        is_bias = name.endswith("bias") and self.what in ("bias", "norm+bias")
        is_norm = name in self._norms and self.what in ("norm", "norm+bias")
        return is_bias or is_norm
