"""The hook base: what a tuning method may change while the frozen encoders are walked. Every hook defaults to no
change."""

from torch import Tensor, nn

from barbench.models.stream import Fused, Role, Site, Step, Stream, Trace
from barbench.models.towers.base import Backbone

Carry = dict["Hooks", tuple[Tensor, ...]]
"""What a component keeps from one stage to the next within one forward pass, under itself."""


WALKED = ("before_block", "project", "branch", "shortcut", "after_stage")
"""The hooks that are called while the towers are walked; the others come before or after."""


class Hooks(nn.Module):
    """One component of a method, or a whole method. As it stands it changes nothing: the head is all that is
    trained."""

    def attach(self, backbone: Backbone) -> None:
        """Allocate parameters from the backbone's widths, depths and grid. Called once; must not register the
        towers."""

    def trains(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether this parameter of the encoders, `vision.<path>` or `text.<path>`, is tuned."""
        return False

    def head_parameters(self) -> list[nn.Parameter]:
        """Those of its own parameters that the ledger books as segmentation head."""
        return []

    def tapped(self) -> frozenset[int]:
        """Vision blocks (from 0) whose patch features `fuse` wants in `trace.taps`."""
        return frozenset()

    def text_free(self, steps: int) -> int:
        """For how many of the walk's `steps` steps the component lets no text reach the vision tower.

        Until then evaluation runs vision once an image instead of once an expression: in these steps, and in
        `after_stage` before they are over, vision may have fewer rows than text. By default `steps` where none of the
        hooks inside the walk is overridden, otherwise 0: a component that keeps the towers apart says so.
        """
        return 0 if any(getattr(type(self), hook) is not getattr(Hooks, hook) for hook in WALKED) else steps

    def before_block(self, step: Step, vision: Stream, text: Stream) -> tuple[Stream, Stream]:
        """Tokens in, tokens out, before the blocks of `step` run."""
        return vision, text

    def project(self, site: Site, role: Role, x: Tensor, y: Tensor) -> Tensor:
        """The output y (B, T, D_out) of a linear map inside a branch, given its input x (B, T, D_in)."""
        return y

    def projects(self) -> bool:
        """Whether `project` is overridden: where it is not, a tower may fuse its linear maps with what is between."""
        return type(self).project is not Hooks.project

    def branch(self, site: Site, x: Tensor, delta: Tensor) -> Tensor:
        """What a branch adds, (B, T, D), given the block's input x (B, T, D)."""
        return delta

    def shortcut(self, site: Site, x: Tensor) -> Tensor:
        """The identity path around a branch, (B, T, D) -> (B, T, D)."""
        return x

    def after_stage(self, stage: int, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Tokens after each third of the depth, `stage` 0, 1, 2; `carry` is new in every forward pass."""
        return vision, text

    def fuse(self, query: Tensor, trace: Trace) -> Fused:
        """The neck's output (B, Q, H, W), which the decoder takes as its query."""
        return Fused(query)
