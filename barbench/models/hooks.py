"""The hook base: what a tuning method may change in the forward pass of the frozen encoders. By default, nothing."""

from torch import Tensor, nn

from barbench.models.stream import Fused, Role, Site, Step, Stream, Trace
from barbench.models.towers.base import Backbone

Carry = dict["Hooks", tuple[Tensor, ...]]
"""What each component keeps from one stage to the next within one forward pass."""

IN_ENCODERS = ("before_block", "project", "branch", "shortcut", "after_stage")
"""The hooks that are called inside the encoders' forward pass; the others come before or after it."""


class Hooks(nn.Module):
    """One component of a method, or a whole method. The base class changes nothing: only the head is trained."""

    def attach(self, backbone: Backbone) -> None:
        """Allocate parameters from the backbone's widths, depths and grid.

        Called once, when the segmenter is built. Must not register the encoders as submodules.

        Args:
            backbone: the frozen encoders, with their sizes and the head's.
        """

    def trains(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether a parameter of the encoders is tuned.

        Args:
            name: `vision.<path>` or `text.<path>`.
            parameter: the parameter itself.

        Returns:
            True for a parameter that training changes.
        """
        return False

    def head_parameters(self) -> list[nn.Parameter]:
        """Those of its own parameters that count as segmentation head, in the ledger and for the learning rate."""
        return []

    def tapped(self) -> frozenset[int]:
        """Vision blocks (counted from 0) whose patch features `fuse` wants in `trace.taps`."""
        return frozenset()

    def text_independent_steps(self, steps: int) -> int:
        """Number of leading steps in which the vision features do not depend on the text.

        Evaluation computes these steps once per image instead of once per expression: in them, and in an `after_stage`
        before they are over, vision may have fewer rows than text. By default `steps` where no hook inside the forward
        pass is overridden, otherwise 0: a component that lets no text into the vision tower overrides this method.

        Args:
            steps: steps of the whole forward pass.

        Returns:
            0 to `steps`.
        """
        return 0 if any(getattr(type(self), hook) is not getattr(Hooks, hook) for hook in IN_ENCODERS) else steps

    def before_block(self, step: Step, vision: Stream, text: Stream) -> tuple[Stream, Stream]:
        """Change the tokens of both towers before the blocks of `step` run.

        Args:
            step: which block runs next in each tower.
            vision: the image's tokens (B, prefix + inserted + N, C).
            text: the expression's tokens (B, inserted + L, D).

        Returns:
            Both streams, as the blocks are to see them.
        """
        return vision, text

    def project(self, site: Site, role: Role, x: Tensor, y: Tensor) -> Tensor:
        """Change the output of a linear map inside a branch (q, k, v, out; up, gate, down).

        Args:
            site: the branch.
            role: which of its linear maps.
            x: the map's input (B, T, D_in).
            y: the frozen map's output (B, T, D_out).

        Returns:
            (B, T, D_out).
        """
        return y

    def projects(self) -> bool:
        """Whether `project` is overridden. Where it is not, a tower may fuse its linear maps with what lies between."""
        return type(self).project is not Hooks.project

    def branch(self, site: Site, x: Tensor, delta: Tensor) -> Tensor:
        """Change what a residual branch adds to the tokens.

        Args:
            site: the branch.
            x: the tokens before the branch (B, T, D), not normalised.
            delta: the frozen branch's output (B, T, D).

        Returns:
            What is added instead (B, T, D).
        """
        return delta

    def shortcut(self, site: Site, x: Tensor) -> Tensor:
        """Change the identity path around a residual branch.

        Args:
            site: the branch.
            x: the tokens before the branch (B, T, D).

        Returns:
            What the branch's output is added to (B, T, D).
        """
        return x

    def after_stage(self, stage: int, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Change the tokens after each third of the depth; the head's feature levels are taken after this.

        Args:
            stage: 0, 1 or 2.
            vision: the image's tokens (B, prefix + inserted + N, C).
            text: the expression's tokens (B, inserted + L, D).
            carry: what components keep from one stage to the next; empty at the start of every forward pass.

        Returns:
            Both streams.
        """
        return vision, text

    def fuse(self, query: Tensor, trace: Trace) -> Fused:
        """Change the decoder's query, after both encoders and the neck.

        Args:
            query: the neck's output F_c (B, Q, H, W) of Eq. 11.
            trace: everything that the encoders gave.

        Returns:
            The new query (B, Q, H, W), and what is added to the loss.
        """
        return Fused(query)
