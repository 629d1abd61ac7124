"""Fixed sparse masks over the encoders' own parameters: by Fisher information (FISH, Sung et al., NeurIPS 2021) or at
random."""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from barbench.errors import BarbenchError, UnfitBackbone
from barbench.methods.base import Component
from barbench.methods.domains import BOTH, Numbers, Share, Towers, checked
from barbench.methods.sites import chosen
from barbench.models.hooks import Losses
from barbench.models.stream import TowerName
from barbench.models.towers.base import Backbone, VisionTower
from barbench.spec.text import plural


class Piece(NamedTuple):
    """The chosen numbers of one parameter.

    Attributes:
        name: the parameter's.
        cut: the part of `index` and `delta` that holds them.
        offset: the index of the parameter's first number among all numbers of the encoders.
    """

    name: str
    cut: slice
    offset: int


class Mask(Component):
    """k of all numbers in the encoders are trained, the others stay: W <- W + delta at the chosen indices.

    Training `delta` (k numbers, zero at the start: identity) is what multiplying the gradient of W by a mask before
    every step is, with any optimizer that treats each number by itself; but its moments and checkpoints take k numbers
    instead of all. Weights with chosen numbers are copied in each forward pass, and their whole gradient exists for a
    moment.

    `fisher`: the k numbers with the largest mean of the squared gradient, taken sample by sample with the true masks,
    over both towers. Behind an untrained head that says nothing, so the engine trains the head alone for one epoch
    first, and resets it afterwards: the training itself is as long as any method's. Until then, and with `random`,
    the k numbers are drawn from all with equal chances.

    Args:
        choice: how the numbers are chosen.
        share: k as a share of the parameters of the chosen towers, rounded down; the original's 0.5 %.
        count: k itself; None: by `share`.
        samples: how many training samples the Fisher information is averaged over; all, where there are fewer.
        towers: whose parameters can be chosen.
    """

    label: ClassVar[str] = "Mask"

    @checked
    def __init__(
        self,
        choice: Literal["fisher", "random"] = "fisher",
        share: Share = 0.005,
        count: Numbers | None = None,
        samples: Numbers = 1024,
        towers: Towers = BOTH,
    ) -> None:
        super().__init__()
        self.choice = choice
        self.share = share
        self.count = count
        self.samples = samples
        self.towers = frozenset(towers)
        # A loaded index needs other pieces.
        self.register_load_state_dict_post_hook(lambda *_: self._cut())  # type: ignore[no-untyped-call]

    def attach(self, backbone: Backbone) -> None:
        """Draw the k numbers, and allocate what is added to them; the parameters are kept for look-up.

        Args:
            backbone: of the segmenter.

        Raises:
            UnfitBackbone: if the towers have fewer numbers than the mask, or the share of them is none.
        """
        self._encoders = dict(_parameters(backbone, self.towers))
        sizes = [p.numel() for p in self._encoders.values()]
        # All numbers of the encoders are counted through; parameter i has those from starts[i] to starts[i + 1].
        self._starts = np.cumsum([0, *sizes])
        total = sum(sizes)
        k = int(self.share * total) if self.count is None else self.count
        if not 1 <= k <= total:
            raise UnfitBackbone(f"a mask of {k:,} numbers does not fit encoders of {total:,}")
        # Drawn with NumPy on the CPU: the same numbers on every device.
        generator = np.random.default_rng(int(torch.randint(2**31, (), device="cpu")))
        drawn = np.sort(generator.choice(total, k, replace=False, shuffle=False))
        device = next(iter(self._encoders.values())).device
        self.index: Tensor
        self.register_buffer("index", torch.from_numpy(drawn).to(device))
        self.delta = nn.Parameter(torch.zeros(k, device=device))
        self._cut(drawn)

    def _cut(self, index: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None) -> None:
        """Cut the (ascending) index where it passes from one parameter to the next; None: `self.index`."""
        if index is None:
            index = self.index.cpu().numpy()
        bounds = np.searchsorted(index, self._starts)
        self._pieces = []
        for i, name in enumerate(self._encoders):
            first = int(bounds[i])
            end = int(bounds[i + 1])
            if first < end:
                self._pieces.append(Piece(name, slice(first, end), int(self._starts[i])))

    def weights(self) -> Mapping[str, Tensor]:
        """The parameters with chosen numbers, `delta` added."""
        tuned = {}
        for name, cut, offset in self._pieces:
            frozen = self._encoders[name]
            flat = frozen.reshape(-1)
            within = self.index[cut] - offset
            sums = flat[within] + self.delta[cut]
            tuned[name] = flat.scatter(0, within, sums).view_as(frozen)
        return tuned

    def calibrates(self) -> bool:
        """For a Fisher mask."""
        return self.choice == "fisher"

    def notes(self, references: int) -> list[str]:
        """How many samples a Fisher mask was chosen by, and whether that is fewer than `samples`."""
        if self.choice != "fisher":
            return []
        used = min(self.samples, references)
        note = f"the mask was chosen by {plural(used, 'training sample')} behind a head of one epoch"
        if used < self.samples:
            note += f", all that there are: mask.samples is {self.samples:,}"
        return [note]

    def calibrate(self, losses: Losses) -> None:
        """Choose the k numbers with the largest Fisher information, once for the whole training.

        Args:
            losses: called with a number of samples, gives the loss of each.

        Raises:
            BarbenchError: if a gradient is not finite.
        """
        parameters = list(self._encoders.values())
        trained = [p.requires_grad for p in parameters]
        # `delta` is still zero; without pieces no copy of a weight takes the place of the weight itself.
        self._pieces = []
        for p in parameters:
            p.requires_grad_(True)

        # Sum the squared gradients, sample by sample.
        fisher = [torch.zeros_like(p) for p in parameters]
        for loss in losses(self.samples):
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for total, gradient in zip(fisher, gradients, strict=True):
                if gradient is not None:
                    total.addcmul_(gradient, gradient)
        for p, was in zip(parameters, trained, strict=True):
            p.requires_grad_(was)

        # Keep the k largest.
        scores = torch.cat([total.flatten() for total in fisher])
        if not scores.isfinite().all():
            raise BarbenchError("the Fisher information of the encoders is not finite")
        self.index.copy_(scores.topk(len(self.index)).indices.sort().values)
        self._cut()


def _parameters(backbone: Backbone, towers: frozenset[TowerName]) -> Iterable[tuple[str, nn.Parameter]]:
    """The encoders' parameters with their names, without what counts as head."""
    for tower in chosen(backbone, towers):
        head: set[int] = set()
        if isinstance(tower, VisionTower):
            for module in tower.head_modules():
                head.update(id(p) for p in module.parameters())
        for name, p in tower.named_parameters():
            if id(p) not in head:
                yield f"{tower.name}.{name}", p
