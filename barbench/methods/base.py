"""A method is a set of components. `Component` is the base of each; `Method` composes them for the segmenter."""

from collections.abc import Callable, Iterable
from typing import ClassVar

from torch import Tensor, nn

from barbench.models.hooks import Carry, Hooks
from barbench.models.stream import Branch, Fused, Role, Site, Step, Stream, TowerName, Trace
from barbench.models.towers.base import Backbone

BOTH: tuple[TowerName, ...] = ("vision", "text")


class Component(Hooks):
    """One interchangeable part of a method: a subclass overrides the hooks that it needs.

    Attributes:
        label: its name in tables.
    """

    label: ClassVar[str]


class Method(Hooks):
    """Several components as one: each hook calls the components that override it, in their order.

    Args:
        name: the method's name.
        components: in the order in which their hooks apply.
    """

    def __init__(self, name: str, components: Iterable[Component]) -> None:
        super().__init__()
        self.name = name
        self.components = nn.ModuleList(components)
        self._users = {hook: self._using(hook) for hook in vars(Hooks) if not hook.startswith("_")}

    def _using(self, hook: str) -> list[Hooks]:
        """The components that override `hook`; the forward pass calls no others."""
        return [
            c for c in self.components if isinstance(c, Hooks) and getattr(type(c), hook) is not getattr(Hooks, hook)
        ]

    def composition(self) -> list[str]:
        """The components' labels, for the tables."""
        return [c.label for c in self.components if isinstance(c, Component)]

    def attach(self, backbone: Backbone) -> None:
        """Attach every component."""
        for c in self._users["attach"]:
            c.attach(backbone)

    def trains(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether any component tunes this parameter of the encoders."""
        return any(c.trains(name, parameter) for c in self._users["trains"])

    def head_parameters(self) -> list[nn.Parameter]:
        """What the components count as segmentation head."""
        return [p for c in self._users["head_parameters"] for p in c.head_parameters()]

    def tapped(self) -> frozenset[int]:
        """The vision blocks that any component asks for."""
        return frozenset[int]().union(*(c.tapped() for c in self._users["tapped"]))

    def text_independent_steps(self, steps: int) -> int:
        """The smallest number of steps of any component."""
        return min((c.text_independent_steps(steps) for c in self.components if isinstance(c, Hooks)), default=steps)

    def before_block(self, step: Step, vision: Stream, text: Stream) -> tuple[Stream, Stream]:
        """Each component changes the tokens that the one before it gives."""
        for c in self._users["before_block"]:
            vision, text = c.before_block(step, vision, text)
        return vision, text

    def project(self, site: Site, role: Role, x: Tensor, y: Tensor) -> Tensor:
        """Each component changes the output (B, T, D_out) that the one before it gives."""
        for c in self._users["project"]:
            y = c.project(site, role, x, y)
        return y

    def projects(self) -> bool:
        """Whether any component overrides `project`."""
        return bool(self._users["project"])

    def branch(self, site: Site, x: Tensor, delta: Tensor) -> Tensor:
        """Each component changes the branch's output (B, T, D) that the one before it gives."""
        for c in self._users["branch"]:
            delta = c.branch(site, x, delta)
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

    def fuse(self, query: Tensor, trace: Trace) -> Fused:
        """Each component changes the query (B, Q, H, W) that the one before it gives; their losses are summed."""
        total: Tensor | None = None
        for c in self._users["fuse"]:
            query, loss = c.fuse(query, trace)
            if loss is not None:
                total = loss if total is None else total + loss
        return Fused(query, total)


def per_site(
    backbone: Backbone,
    make: Callable[[int], nn.Module],
    towers: Iterable[TowerName] = BOTH,
    branches: Iterable[Branch] = ("attn", "mlp"),
) -> nn.ModuleDict:
    """One module per residual branch.

    Args:
        backbone: its towers have the branches.
        make: called with a tower's width D, once per branch.
        towers: whose branches.
        branches: which of a block's two branches.

    Returns:
        The modules under `Site.key`.
    """
    chosen = [t for t in (backbone.vision, backbone.text) if t.name in set(towers)]
    sites = [(Site(t.name, i, b), t.width) for t in chosen for i in range(t.depth) for b in branches]
    return nn.ModuleDict({site.key: make(width) for site, width in sites})
