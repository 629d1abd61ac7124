"""A method is a set of components. `Component` is the base of each; `Method` composes them for the segmenter."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from barbench.errors import UnfitBackbone, UsageError
from barbench.models.hooks import Carry, Hooks, Losses, Order
from barbench.models.stream import Fused, Phase, Role, Roles, Site, Step, Stream, TowerName, Trace
from barbench.models.towers.base import Backbone

IN_BLOCKS = ("before_block", "inside_block", "project", "branch", "shortcut", "tapped", "tapped_tokens")
"""The hooks that are called inside the blocks or with the tokens of one."""


class Traits(NamedTuple):
    """What is known of a backbone before it is loaded, for `Component.obstacle`.

    Attributes:
        transformer: whether its vision tower is a stack of blocks; False for a ResNet.
        aligned: whether words and patches share a joint space.
    """

    transformer: bool = True
    aligned: bool = True


class Component(Hooks):
    """One interchangeable part of a method: a subclass overrides the hooks that it needs.

    Attributes:
        label: its name in tables.
        alone: why no other component may tune the encoders beside it; empty where others may.
        tunes: whether it is there to tune parameters, its own or the encoders'.
        crosses: whether what it does in one tower may depend on the other one. False: the towers can run in either
            order, and it lets no text into the vision features.
        settings: option -> value, as the catalogue made it, defaults included.
    """

    label: ClassVar[str]
    alone: ClassVar[str] = ""
    tunes: ClassVar[bool] = True
    crosses: ClassVar[bool] = True
    settings: Mapping[str, Any] = MappingProxyType({})

    def obstacle(self, traits: Traits) -> str | None:
        """Why it cannot be used on a kind of backbone.

        By default, a component that has a hook inside the blocks or reads their tokens needs transformer blocks in the
        vision tower, unless its option `towers` leaves that tower out. None where it can be used.
        """
        if traits.transformer or "vision" not in getattr(self, "towers", ("vision",)):
            return None
        if not self._overrides(*IN_BLOCKS):
            return None
        hint = "; its option towers=text leaves it out" if hasattr(self, "towers") else ""
        return f"its vision tower is a ResNet, which has no transformer blocks{hint}"

    def text_independent_steps(self, steps: int) -> int:
        """All steps where it does not cross, else as `Hooks` has it."""
        return super().text_independent_steps(steps) if self.crosses else steps

    def order(self) -> Order | None:
        """Either order where it does not cross, else as `Hooks` has it."""
        return super().order() if self.crosses else None


class Method(Hooks):
    """Several components as one: each hook calls the components that override it, in their order."""

    def __init__(self, name: str, components: Iterable[Component]) -> None:
        super().__init__()
        self.name = name
        self.components = nn.ModuleList(components)
        _check(name, self._listed())
        self._order: Order | None = None
        if any(c.order() == "text first" for c in self._hooks()):
            self._order = "text first"
        # Which components override each hook: the forward pass calls no others.
        self._users: dict[str, list[Hooks]] = {}
        for hook in vars(Hooks):
            if not hook.startswith("_"):
                self._users[hook] = [c for c in self._hooks() if c._overrides(hook)]
        self._projecting = [(c, c.projects()) for c in self._users["project"]]

    def _hooks(self) -> list[Hooks]:
        """All that has hooks, also where it is no `Component`."""
        return [c for c in self.components if isinstance(c, Hooks)]

    def _listed(self) -> list[Component]:
        """The components that have a label."""
        return [c for c in self.components if isinstance(c, Component)]

    def composition(self) -> list[str]:
        """The components' labels, for the tables."""
        return [c.label for c in self._listed()]

    def check(self, backbone: str, traits: Traits) -> None:
        """Refuse a backbone on which a component cannot be used.

        Args:
            backbone: its name, for messages.
            traits: of the backbone.

        Raises:
            UnfitBackbone: with the component and the reason.
        """
        for c in self._listed():
            if reason := c.obstacle(traits):
                raise UnfitBackbone(f"{self.name}: {c.label} cannot be used on {backbone}: {reason}")

    def attach(self, backbone: Backbone) -> None:
        """Attach every component.

        Args:
            backbone: whose sizes are taken.

        Raises:
            UnfitBackbone: where a component cannot be used on this backbone, or nothing is tuned there.
        """
        self.check(backbone.name, Traits(backbone.vision.transformer, backbone.aligned))
        for c in self._users["attach"]:
            c.attach(backbone)
        if any(c.tunes for c in self._listed()) and not self._tunes(backbone):
            raise UnfitBackbone(
                f"{self.name} tunes no parameter on {backbone.name}; head-only is the method that trains the head alone"
            )

    def _tunes(self, backbone: Backbone) -> bool:
        """Whether there is a parameter that is tuned, of the components or of the encoders."""
        if any(True for _ in self.parameters()):
            return True
        for tower in (backbone.vision, backbone.text):
            for name, parameter in tower.named_parameters():
                if self.trains(f"{tower.name}.{name}", parameter):
                    return True
        return False

    def trains(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether any component tunes this parameter of the encoders."""
        return any(c.trains(name, parameter) for c in self._users["trains"])

    def weights(self) -> Mapping[str, Tensor]:
        """What the components give for parameters of the encoders, by name.

        Returns:
            Name of a parameter -> what stands in its place, of the same shape.

        Raises:
            UsageError: where two of them give the same parameter.
        """
        given: dict[str, Tensor] = {}
        for c in self._users["weights"]:
            own = c.weights()
            if twice := sorted(given.keys() & own.keys()):
                raise UsageError(f"{self.name}: two components give {twice[0]} in place of the frozen one")
            given |= own
        return given

    def calibrates(self) -> bool:
        """Whether any component needs to see data first."""
        return any(c.calibrates() for c in self._users["calibrate"])

    def calibrate(self, losses: Losses) -> None:
        """Each component that needs to see data first, in their order."""
        for c in self._users["calibrate"]:
            if c.calibrates():
                c.calibrate(losses)

    def notes(self, references: int) -> list[str]:
        """The notes of each component, in their order."""
        notes: list[str] = []
        for c in self._users["notes"]:
            notes.extend(c.notes(references))
        return notes

    def head_parameters(self) -> list[nn.Parameter]:
        """What the components count as segmentation head."""
        parameters: list[nn.Parameter] = []
        for c in self._users["head_parameters"]:
            parameters.extend(c.head_parameters())
        return parameters

    def tapped(self) -> frozenset[int]:
        """The vision blocks that any component asks for."""
        blocks: set[int] = set()
        for component in self._users["tapped"]:
            blocks |= component.tapped()
        return frozenset(blocks)

    def tapped_tokens(self) -> frozenset[tuple[TowerName, int]]:
        """The (tower, block) pairs that any component asks for."""
        places: set[tuple[TowerName, int]] = set()
        for component in self._users["tapped_tokens"]:
            places |= component.tapped_tokens()
        return frozenset(places)

    def order(self) -> Order | None:
        """`text first` where any component asks for it, else None."""
        return self._order

    def text_independent_steps(self, steps: int) -> int:
        """The smallest number of steps of any component."""
        return min((c.text_independent_steps(steps) for c in self._hooks()), default=steps)

    def before_block(self, step: Step, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Each component changes the tokens that the one before it gives."""
        for c in self._users["before_block"]:
            vision, text = c.before_block(step, vision, text, carry)
        return vision, text

    def inside_block(self, phase: Phase, vision: Stream, text: Stream, carry: Carry) -> None:
        """Each component that asks for the phase sees both towers."""
        for c in self._users["inside_block"]:
            if phase in c.phases():
                c.inside_block(phase, vision, text, carry)

    def phases(self) -> frozenset[Phase]:
        """The phases that any component asks for."""
        phases: set[Phase] = set()
        for component in self._users["inside_block"]:
            phases |= component.phases()
        return frozenset(phases)

    def project(self, site: Site, role: Role, x: Tensor, y: Tensor, carry: Carry) -> Tensor:
        """Each component changes the output (B, T, D_out) that the one before it gives."""
        for c, roles in self._projecting:
            if (site.tower, role) in roles:
                y = c.project(site, role, x, y, carry)
        return y

    def projects(self) -> Roles:
        """The (tower, role) pairs that any component may change."""
        every: set[tuple[TowerName, Role]] = set()
        for _, roles in self._projecting:
            every |= roles
        return frozenset(every)

    def branch(self, site: Site, x: Tensor, xn: Tensor, delta: Tensor, carry: Carry) -> Tensor:
        """Each component changes the branch's output (B, T, D) that the one before it gives."""
        for c in self._users["branch"]:
            delta = c.branch(site, x, xn, delta, carry)
        return delta

    def shortcut(self, site: Site, x: Tensor) -> Tensor:
        """The components' shortcuts (B, T, D) -> (B, T, D), one after the other."""
        for c in self._users["shortcut"]:
            x = c.shortcut(site, x)
        return x

    def after_stage(self, stage: int, vision: Stream, text: Stream, carry: Carry) -> tuple[Stream, Stream]:
        """Each component changes the tokens that the one before it gives."""
        for c in self._users["after_stage"]:
            vision, text = c.after_stage(stage, vision, text, carry)
        return vision, text

    def after_text(self, words: Tensor, carry: Carry) -> None:
        """Each component sees the finished words (B, L, D)."""
        for c in self._users["after_text"]:
            c.after_text(words, carry)

    def readout(self, trace: Trace, carry: Carry) -> Trace:
        """Each component changes the trace that the one before it gives."""
        for c in self._users["readout"]:
            trace = c.readout(trace, carry)
        return trace

    def fuse(self, query: Tensor, trace: Trace) -> Fused:
        """Each component changes the query (B, Q, H, W) that the one before it gives; their losses are summed."""
        total: Tensor | None = None
        for c in self._users["fuse"]:
            query, loss = c.fuse(query, trace)
            if loss is not None:
                total = loss if total is None else total + loss
        return Fused(query, total)


def _check(name: str, components: Sequence[Component]) -> None:
    """Refuse components that cannot be combined: two of a kind, two orders of the walk, or one that must be alone."""
    labels = [c.label for c in components]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"{name}: two {label} components act on the same modules")

    text_first = [c.label for c in components if c.order() == "text first"]
    lockstep = [c.label for c in components if c.order() == "lockstep"]
    if text_first and lockstep:
        needs = f"{' and '.join(text_first)} needs the finished words before the vision tower begins"
        raise UsageError(f"{name}: {needs}, {' and '.join(lockstep)} needs both towers block by block")

    for c in components:
        # It had no `carry` at first: a component from then would fail in the forward pass, which does not say why.
        if "carry" not in inspect.signature(type(c).project).parameters:
            raise UsageError(f"{name}: project of {c.label} takes site, role, x, y and carry; add carry to it")
        if c.alone and len(components) > 1:
            others = ", ".join(label for label in labels if label != c.label)
            raise UsageError(f"{name}: {c.label} cannot be combined with {others}: {c.alone}")
