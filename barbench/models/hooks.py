"""The hook base: what a tuning method may change while the frozen encoders are walked. Every hook defaults to no
change."""

from typing import Literal

from torch import Tensor, nn

from barbench.models.stream import ROLES, Fused, Role, Roles, Site, Step, Stream, TowerName, Trace
from barbench.models.towers.base import Backbone

Carry = dict["Hooks", tuple[Tensor, ...]]
"""What a component keeps from one hook to the next within one forward pass, under itself."""

Order = Literal["lockstep", "text first"]
"""Both towers block by block, or the whole text tower before the first vision block."""

WALKED = ("before_block", "project", "branch", "shortcut", "after_stage", "after_text")
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

    def tapped_tokens(self) -> frozenset[tuple[TowerName, int]]:
        """(tower, block) whose tokens `readout` or `fuse` wants in `trace.tokens`; block -1 is the embeddings."""
        return frozenset()

    def text_free(self, steps: int) -> int:
        """For how many of the walk's `steps` steps the component lets no text reach the vision tower.

        Until then evaluation runs vision once an image instead of once an expression: in these steps, and in
        `after_stage` before they are over, vision may have fewer rows than text. By default `steps` where none of the
        hooks inside the walk is overridden, otherwise 0: a component that keeps the towers apart says so.
        """
        return 0 if any(getattr(type(self), hook) is not getattr(Hooks, hook) for hook in WALKED) else steps

    def order(self) -> Order | None:
        """Which order of the walk the component needs; None where either will do.

        By default "lockstep" where `before_block` or `after_stage` is overridden, since these see both towers. A method
        is walked text first if any component asks for it; one that needs lockstep cannot stand beside it.
        """
        both = any(getattr(type(self), hook) is not getattr(Hooks, hook) for hook in ("before_block", "after_stage"))
        return "lockstep" if both else None

    def before_block(self, step: Step, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Tokens in, tokens out, before the blocks of `step` run; `carry` is new in every forward pass."""
        return vision, text

    def project(self, site: Site, role: Role, x: Tensor, y: Tensor) -> Tensor:
        """What goes on in place of y (B, T, D_out), which a frozen map makes from x (B, T, D_in).

        role: "q", "k", "v", "out", "up", "gate" (EVA) or "down" for the linear maps; "norm" for the norm in front of
        a branch and, at the sites "stem" and "end", for those before the first and after the last block; "act" for the
        widened tokens that the down map will see, x being what the up map gave.
        """
        return y

    def projects(self) -> Roles:
        """The (tower, role) at which `project` may change anything; elsewhere a tower may fuse its maps with what is
        between, or leave the call out. By default all of them where `project` is overridden."""
        if type(self).project is Hooks.project:
            return frozenset()
        return frozenset((tower, role) for tower in ("vision", "text") for role in ROLES)

    def branch(self, site: Site, x: Tensor, xn: Tensor, delta: Tensor, carry: Carry) -> Tensor:
        """What a branch adds, (B, T, D), given its input x (B, T, D) and xn, the same after the branch's norm."""
        return delta

    def shortcut(self, site: Site, x: Tensor) -> Tensor:
        """The identity path around a branch, (B, T, D) -> (B, T, D)."""
        return x

    def after_stage(self, stage: int, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Tokens after each third of the depth, `stage` 0, 1, 2."""
        return vision, text

    def after_text(self, words: Tensor, carry: Carry) -> None:
        """The finished words (B, L, D), after the text tower's last norm: where the text tower runs first, before the
        first vision block."""

    def readout(self, trace: Trace, carry: Carry) -> Trace:
        """What the head is given in place of `trace`, once both towers are done."""
        return trace

    def fuse(self, query: Tensor, trace: Trace) -> Fused:
        """The neck's output (B, Q, H, W), which the decoder takes as its query."""
        return Fused(query)
