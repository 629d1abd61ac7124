"""The hook base: what a tuning method may change in the forward pass of the frozen encoders. By default, nothing."""

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Literal, get_args

from torch import Tensor, nn

from barbench.models.stream import PHASES, ROLES, Fused, Phase, Role, Roles, Site, Step, Stream, TowerName, Trace
from barbench.models.towers.base import Backbone

Carry = dict["Hooks", tuple[Tensor, ...]]
"""What a component keeps from one hook to the next within one forward pass, under itself."""

Order = Literal["lockstep", "text first"]
"""Both towers block by block, or the whole text tower before the first vision block."""

Losses = Callable[[int], Iterable[Tensor]]
"""Number of training samples -> the loss of each, a scalar."""

IN_ENCODERS = ("before_block", "inside_block", "project", "branch", "shortcut", "after_stage", "after_text")
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

    def weights(self) -> Mapping[str, Tensor]:
        """What replaces parameters of the encoders in one forward pass, as functions of the component's own.

        Called at the start of each forward pass.

        Returns:
            `vision.<path>` or `text.<path>` -> a tensor of the parameter's shape.
        """
        return {}

    def calibrates(self) -> bool:
        """Whether `calibrate` is to be called before the training begins."""
        return type(self).calibrate is not Hooks.calibrate

    def calibrate(self, losses: Losses) -> None:
        """Look at data before the training begins; what is found belongs in a buffer, which checkpoints keep.

        By then the head alone has been trained for one epoch; afterwards it is reset to its start.

        Args:
            losses: gives the training loss of so many samples, sample by sample, each computed when it is asked for,
                in evaluation mode. Their graphs reach the parameters that require gradients at that moment.
        """

    def notes(self, references: int) -> list[str]:
        """What a reader of a training's numbers must know beside its options; it becomes part of the record.

        Args:
            references: of the training split.

        Returns:
            One sentence each, without a full stop.
        """
        return []

    def head_parameters(self) -> list[nn.Parameter]:
        """Those of its own parameters that count as segmentation head, in the ledger and for the learning rate."""
        return []

    def tapped(self) -> frozenset[int]:
        """Vision blocks (counted from 0) whose patch features `fuse` wants in `trace.taps`."""
        return frozenset()

    def tapped_tokens(self) -> frozenset[tuple[TowerName, int]]:
        """(tower, block) whose tokens `readout` or `fuse` wants in `trace.tokens`; block -1 is the embeddings."""
        return frozenset()

    def text_independent_steps(self, steps: int) -> int:
        """Number of leading steps in which the vision features do not depend on the text.

        Evaluation computes these steps once per image instead of once per expression: in them, and in an `after_stage`
        before they are over, vision may have fewer rows than text. By default `steps` where no hook inside the forward
        pass is overridden, otherwise 0: a component that lets no text into the vision tower says so by `crosses`, and
        one that does so later overrides this method.

        Args:
            steps: steps of the whole forward pass.

        Returns:
            0 to `steps`.
        """
        return 0 if self._overrides(*IN_ENCODERS) else steps

    def order(self) -> Order | None:
        """Which order of the forward pass the component needs.

        By default `lockstep` where `before_block`, `inside_block` or `after_stage` is overridden, since these see both
        towers. A method runs text first if any component asks for it; one that needs lockstep cannot be used with it.

        Returns:
            The order; None where either will do.
        """
        return "lockstep" if self._overrides("before_block", "inside_block", "after_stage") else None

    def _overrides(self, *hooks: str) -> bool:
        """Whether the class overrides one of these hooks."""
        return any(getattr(type(self), hook) is not getattr(Hooks, hook) for hook in hooks)

    def before_block(self, step: Step, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Change the tokens of both towers before the blocks of `step` run.

        Args:
            step: which block runs next in each tower.
            vision: the image's tokens (B, prefix + inserted + N, C).
            text: the expression's tokens (B, inserted + L, D).
            carry: what components keep within one forward pass; empty at its start.

        Returns:
            Both streams, as the blocks are to see them.
        """
        return vision, text

    def inside_block(self, phase: Phase, vision: Stream, text: Stream, carry: Carry) -> None:
        """See what both towers have in the middle of their blocks; called in steps in which both run one.

        Args:
            phase: `out`: before the out maps of both attentions; `mlp`: before both MLP branches.
            vision: at `out` the heads side by side, as the out map takes them; at `mlp` the tokens after the attention
                branch; (B, prefix + inserted + N, C).
            text: the same of the text tower (B, inserted + L, D).
            carry: what components keep within one forward pass.
        """

    def phases(self) -> frozenset[Phase]:
        """When `inside_block` is to be called; the towers run their blocks in turn, phase by phase, for it.

        Returns:
            By default every phase where `inside_block` is overridden, otherwise none.
        """
        return frozenset(PHASES) if self._overrides("inside_block") else frozenset()

    def project(self, site: Site, role: Role, x: Tensor, y: Tensor, carry: Carry) -> Tensor:
        """Change the output of a frozen map.

        Args:
            site: the branch; `stem` and `end` for the norms before the first and after the last block.
            role: `q`, `k`, `v`, `out`, `up`, `gate` (EVA) or `down` for the linear maps; `norm` for the norm in front
                of a branch, or at the stem and end; `act` for the widened tokens that the down map will see.
            x: the map's input (B, T, D_in); for `act`, the output of the up map.
            y: the frozen map's output (B, T, D_out).
            carry: what components keep within one forward pass.

        Returns:
            (B, T, D_out).
        """
        return y

    def projects(self) -> Roles:
        """Where `project` may change anything; elsewhere a tower may fuse its maps or leave the call out.

        Returns:
            Pairs of tower and role; by default all of them where `project` is overridden, otherwise none.
        """
        if type(self).project is Hooks.project:
            return frozenset()
        return frozenset(product(get_args(TowerName), ROLES))

    def branch(self, site: Site, x: Tensor, xn: Tensor, delta: Tensor, carry: Carry) -> Tensor:
        """Change what a residual branch adds to the tokens.

        Args:
            site: the branch.
            x: the tokens before the branch (B, T, D), not normalized.
            xn: the same after the branch's norm (B, T, D).
            delta: the frozen branch's output (B, T, D).
            carry: what components keep within one forward pass.

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
            carry: what components keep within one forward pass; empty at its start.

        Returns:
            Both streams.
        """
        return vision, text

    def after_text(self, words: Tensor, carry: Carry) -> None:
        """See the finished words; where the text tower runs first, this is before the first vision block.

        Args:
            words: after the text tower's last norm (B, L, D).
            carry: what components keep within one forward pass.
        """

    def readout(self, trace: Trace, carry: Carry) -> Trace:
        """Change what the head is given, once both towers are done.

        Args:
            trace: everything that the encoders gave.
            carry: what components keep within one forward pass.

        Returns:
            What the head is given instead.
        """
        return trace

    def fuse(self, query: Tensor, trace: Trace) -> Fused:
        """Change the decoder's query, after both encoders and the neck.

        Args:
            query: the neck's output F_c (B, Q, H, W) of Eq. 11.
            trace: everything that the encoders gave.

        Returns:
            The new query (B, Q, H, W), and what is added to the loss.
        """
        return Fused(query)
