"""The places of the encoders at which components sit: branches, frozen maps, norms; and the base of those at maps."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from barbench.methods.base import Component
from barbench.models.stream import ATTENTION_ROLES, Branch, LinearRole, Role, Site, TowerName
from barbench.models.towers.base import Backbone, Tower

BOTH: tuple[TowerName, ...] = ("vision", "text")


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
    sites = [(Site(t.name, i, b), t.width) for t in chosen(backbone, towers) for i in range(t.depth) for b in branches]
    return nn.ModuleDict({site.key: make(width) for site, width in sites})


def chosen(backbone: Backbone, towers: Iterable[TowerName]) -> list[Tower]:
    """The towers of a backbone that are named in `towers`.

    Args:
        backbone: both encoders.
        towers: names.

    Returns:
        The towers, vision first.
    """
    return [t for t in (backbone.vision, backbone.text) if t.name in set(towers)]


def map_key(site: Site, role: Role) -> str:
    """The place of a frozen map as a module name.

    Args:
        site: the branch.
        role: which of its maps.

    Returns:
        For example `vision-3-attn-q`.
    """
    return f"{site.key}-{role}"


def per_map(
    backbone: Backbone,
    make: Callable[[Tower, int, LinearRole], nn.Module],
    towers: Iterable[TowerName],
    roles: Iterable[LinearRole],
) -> nn.ModuleDict:
    """One module per frozen linear map. A role that a tower does not have (`gate` is EVA's) is left out there.

    Args:
        backbone: its towers have the maps.
        make: called with tower, block and role, once per map.
        towers: whose maps.
        roles: which of a block's maps.

    Returns:
        The modules under `map_key`.
    """
    modules: dict[str, nn.Module] = {}
    wanted = set(roles)
    for tower in chosen(backbone, towers):
        for block in range(tower.depth):
            for role in (r for r in tower.maps if r in wanted):
                site = Site(tower.name, block, "attn" if role in ATTENTION_ROLES else "mlp")
                modules[map_key(site, role)] = make(tower, block, role)
    return nn.ModuleDict(modules)


class AtMaps(Component):
    """Base of the components that change outputs of frozen maps, each by a module of its own.

    A subclass fills `maps` when it is attached.

    Attributes:
        maps: under `map_key`, a module that is called with the map's input x (B, T, D_in) and output y (B, T, D_out),
            and gives another output (B, T, D_out).
    """

    maps: nn.ModuleDict

    def text_independent_steps(self, steps: int) -> int:
        """All steps: a map sees one token of one tower."""
        return steps

    def project(self, site: Site, role: Role, x: Tensor, y: Tensor) -> Tensor:
        """Change the output of a frozen map.

        Args:
            site: the branch.
            role: which of its maps.
            x: the map's input (B, T, D_in).
            y: the map's output (B, T, D_out).

        Returns:
            (B, T, D_out).
        """
        key = map_key(site, role)
        z: Tensor = self.maps[key](x, y) if key in self.maps else y
        return z


def norm_names(backbone: Backbone) -> set[str]:
    """Gains and shifts of every norm of both towers: LayerNorms, and a ResNet's BatchNorms.

    Args:
        backbone: both encoders.

    Returns:
        Parameter names, `vision.<path>` or `text.<path>`.
    """
    return {
        f"{tower.name}.{module}.{parameter}"
        for tower in (backbone.vision, backbone.text)
        for module, norm in tower.named_modules()
        if isinstance(norm, nn.LayerNorm | nn.BatchNorm2d)
        for parameter, _ in norm.named_parameters()
    }
