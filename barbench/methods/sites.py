"""Where components act in the encoders: branches, frozen maps, norms; and the base of the components at maps."""

from collections.abc import Callable, Iterable
from itertools import product
from typing import ClassVar

from torch import Tensor, nn

from barbench.methods.base import Component
from barbench.models.hooks import Carry
from barbench.models.stream import ATTENTION_ROLES, Branch, LinearRole, Role, Roles, Site, TowerName
from barbench.models.towers.base import Backbone, Tower


def per_site(
    backbone: Backbone,
    make: Callable[[Tower], nn.Module],
    towers: Iterable[TowerName],
    branches: Iterable[Branch] = ("attn", "mlp"),
) -> nn.ModuleDict:
    """One module per residual branch of the named towers, under `Site.key`; `make` is called once per branch."""
    modules: dict[str, nn.Module] = {}
    for tower in chosen(backbone, towers):
        for block in range(tower.depth):
            for branch in branches:
                modules[Site(tower.name, block, branch).key] = make(tower)
    return nn.ModuleDict(modules)


def chosen(backbone: Backbone, towers: Iterable[TowerName]) -> list[Tower]:
    """The towers of a backbone that are named in `towers`, vision first."""
    names = set(towers)
    return [tower for tower in (backbone.vision, backbone.text) if tower.name in names]


def map_key(site: Site, role: Role) -> str:
    """The module name of a frozen map, for example `vision-3-attn-q`."""
    return f"{site.key}-{role}"


def per_map(
    backbone: Backbone,
    make: Callable[[Tower, int, LinearRole], nn.Module],
    towers: Iterable[TowerName],
    roles: Iterable[LinearRole],
) -> nn.ModuleDict:
    """One module per frozen linear map, under `map_key`.

    A role that a tower does not have (`gate` is EVA's) is left out there.
    """
    modules: dict[str, nn.Module] = {}
    wanted = set(roles)
    for tower in chosen(backbone, towers):
        for block in range(tower.depth):
            for role in tower.maps:
                if role not in wanted:
                    continue
                branch: Branch = "attn" if role in ATTENTION_ROLES else "mlp"
                modules[map_key(Site(tower.name, block, branch), role)] = make(tower, block, role)
    return nn.ModuleDict(modules)


class AtMaps(Component):
    """Base of the components that change outputs of frozen maps, each by a module of its own.

    A subclass fills `maps` when it is attached.

    Attributes:
        towers: which towers are tuned.
        roles: the maps that can have a module.
        maps: under `map_key`, a module that is called with the map's input x (B, T, D_in) and output y (B, T, D_out),
            and gives another output (B, T, D_out).
    """

    crosses: ClassVar[bool] = False  # a map sees one token
    towers: frozenset[TowerName]
    roles: frozenset[Role]
    maps: nn.ModuleDict

    def project(self, site: Site, role: Role, x: Tensor, y: Tensor, carry: Carry) -> Tensor:
        """The map's module on its input x (B, T, D_in) and output y (B, T, D_out) -> (B, T, D_out)."""
        key = map_key(site, role)
        if key not in self.maps:
            return y
        changed: Tensor = self.maps[key](x, y)
        return changed

    def projects(self) -> Roles:
        """The maps `roles` of the chosen towers."""
        return pairs(self.towers, self.roles)


def pairs(towers: Iterable[TowerName], roles: Iterable[Role]) -> Roles:
    """Each tower with each role."""
    return frozenset(product(towers, roles))


def norm_names(backbone: Backbone, towers: Iterable[TowerName]) -> set[str]:
    """Gains and shifts of every norm of the named towers, as `vision.<path>` or `text.<path>`.

    The norms are LayerNorms, and a ResNet's BatchNorms.
    """
    names: set[str] = set()
    for tower in chosen(backbone, towers):
        for path, module in tower.named_modules():
            if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
                names.update(f"{tower.name}.{path}.{parameter}" for parameter, _ in module.named_parameters())
    return names
