"""What the tests of the field's methods share: attached components away from their start, and plain oracles."""

from typing import Any

import torch
from torch import Tensor, nn

from barbench.methods.base import Component, Method
from barbench.methods.catalog import part
from barbench.models.stream import Site, Trace
from barbench.models.towers.base import Backbone
from barbench.models.walk import walk
from tests.models.small import inputs, small

SITES = [(tower, branch) for tower in ("vision", "text") for branch in ("attn", "mlp")]


def attached(name: str, kind: str = "quickgelu", spread: float = 0.1, **options: Any) -> tuple[Component, Backbone]:
    """A component by its name in options, attached, each parameter `spread` (normal) away from its start."""
    torch.manual_seed(0)
    backbone, component = small(kind), part(name, options)
    component.attach(backbone)
    for p in component.parameters():
        p.data = p.data + torch.randn_like(p) * spread
    return component.eval(), backbone


def traced(component: Component, backbone: Backbone) -> Trace:
    """The encoders' outputs with the component alone."""
    with torch.no_grad():
        return walk(backbone.vision, backbone.text, Method("m", [component]), *inputs())


def blocks(backbone: Backbone, tower: str) -> list[Any]:
    """open_clip's own blocks of a tower."""
    stack = backbone.vision.visual.transformer if tower == "vision" else backbone.text.transformer
    return list(stack.resblocks)


def site(tower: str, branch: str, block: int = 1) -> Site:
    return Site(tower, block, branch)  # type: ignore[arg-type]


def tokens(seed: int = 0, width: int = 64, count: int = 37) -> Tensor:
    return torch.randn(3, count, width, generator=torch.Generator().manual_seed(seed))


def gradients(module: nn.Module, output: Tensor, *more: Tensor) -> list[Tensor]:
    """Of a weighted sum of the output, with respect to the module's parameters and `more`."""
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    return list(torch.autograd.grad((output * weights).sum(), [*module.parameters(), *more]))
