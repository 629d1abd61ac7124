"""What the released code imports and a machine may lack: small modules of the same names, enough to build and run it.

A package that is installed is used; what its models compute with is torch's and timm's in any case.
"""

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn


class ShapeSpec(NamedTuple):
    """`detectron2.layers.ShapeSpec`, as far as it is read."""

    channels: int


class CNNBlockBase(nn.Module):
    """`detectron2.layers.CNNBlockBase` without its record of channels."""

    def __init__(self, *_: Any) -> None:
        super().__init__()


class Registry(dict[str, Any]):
    """`detectron2.utils.registry.Registry`: classes by name."""

    def __init__(self, name: str) -> None:
        super().__init__()

    def register(self) -> Callable[[Any], Any]:
        """A decorator that keeps the class under its name."""

        def keep(made: Any) -> Any:
            self[made.__name__] = made
            return made

        return keep


class _Silent:
    """A logger, or a module of which only the attributes' types are asked for."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def configurable(init: Callable[..., None]) -> Callable[..., None]:
    """`detectron2.config.configurable`: arguments of `__init__` come from the class's own `from_config`."""

    @wraps(init)
    def made(self: Any, *args: Any) -> None:
        init(self, **type(self).from_config(*args))

    return made


def xavier_fill(layer: nn.Module) -> None:
    """`fvcore.nn.weight_init.c2_xavier_fill`."""
    assert isinstance(layer.weight, torch.Tensor)
    nn.init.kaiming_uniform_(layer.weight, a=1)
    if isinstance(layer.bias, torch.Tensor):
        nn.init.zeros_(layer.bias)


def _named(**kinds: Any) -> Any:
    return type("Stand", (), kinds)


# Types that BarLeRIa compares blocks with: without EVA-CLIP no block is of them.
_EVA = {
    "eva_vit_model": _named(Block=type("Block", (), {})),
    "transformer": _named(ResidualAttentionBlock=type("Text", (), {})),
}
MODULES: dict[str, dict[str, Any]] = {
    "loguru": {"logger": _Silent()},
    "turtle": {"forward": None},
    "einops": {"rearrange": None, "repeat": None},
    "eva_clip": _EVA,
    "fvcore": {},
    "fvcore.nn": {},
    "fvcore.nn.weight_init": {"c2_xavier_fill": xavier_fill},
    "detectron2": {},
    "detectron2.config": {"configurable": configurable},
    "detectron2.layers": {"ShapeSpec": ShapeSpec, "CNNBlockBase": CNNBlockBase, "Conv2d": nn.Conv2d},
    "detectron2.utils": {},
    "detectron2.utils.logger": {"log_first_n": lambda *_: None},
    "detectron2.utils.registry": {"Registry": Registry},
    "timm.models.layers.helpers": {"to_2tuple": lambda x: x if isinstance(x, tuple) else (x, x)},
}  # fmt: skip


def stand_in() -> list[str]:
    """Put stand-ins where an import would fail.

    Returns:
        The names of those modules.
    """
    replaced = []
    for name, contents in MODULES.items():
        try:
            import_module(name)
        except ImportError:
            module = ModuleType(name)
            vars(module).update(contents, __path__=[])
            sys.modules[name] = module
            parent, _, own = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], own, module)
            replaced.append(name)
    _plain_timm()
    return replaced


def _plain_timm() -> None:
    """timm hands its models more arguments than it did when the released code was written."""
    import timm

    def create_model(name: str, pretrained: bool = False, **arguments: Any) -> Any:
        return timm.model_entrypoint(name)(pretrained=pretrained, **arguments)

    timm.create_model = create_model
