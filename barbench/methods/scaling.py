"""How the options of a method shrink with a narrow backbone, so that its share of the parameters stays about the same.

An option m of a method costs m d parameters on a width of d, the encoders cost d^2: what is published for ViT-B/16 is
many times as much, in proportion, on the embedded backbones. Each method of the catalogue names the options that
shrink, its published values on ViT-B/16, and by which rule. Vectors per channel (`ia3`, `ssf`, biases, norms), shares,
rates, scales and dropout do not shrink.
"""

from collections.abc import Mapping
from math import lcm
from typing import Any, NamedTuple

from barbench.spec.backbone import EMBEDDED, BackboneConfig
from barbench.spec.run import Proportion

WIDTH = 768
"""Channels of ViT-B/16's vision tower: the width that published values are for."""

DEPTH = 12
"""Blocks of ViT-B/16's vision tower."""


class Width(NamedTuple):
    """A number of channels, units, tokens or ranks: in proportion to the width.

    Attributes:
        published: on ViT-B/16; None: by default the option follows another one.
        step: the values are multiples of it.
        divisors: options whose given values must divide it, too.
    """

    published: int | None
    step: int = 1
    divisors: tuple[str, ...] = ()


class Depth(NamedTuple):
    """A number of blocks: in proportion to the depth.

    Attributes:
        published: on ViT-B/16.
        least: the smallest value that the component takes.
    """

    published: int
    least: int = 1


class Heads(NamedTuple):
    """A number of attention heads: each keeps its width, as nearly as the heads can divide the width.

    Attributes:
        published: on ViT-B/16.
        of: the option that is the width of all heads.
    """

    published: int
    of: str


class Alpha(NamedTuple):
    """LoRA's alpha: alpha / rank stays as published.

    Attributes:
        published: on ViT-B/16.
        of: the option that is the rank.
    """

    published: float
    of: str


Rule = Width | Depth | Heads | Alpha
Rules = dict[str, Rule]
"""`component.parameter` -> how it shrinks."""


def follows_width(config: BackboneConfig, proportion: Proportion | None) -> bool:
    """Whether the sizes of methods follow a backbone's width: as asked for; else on the embedded backbones, where the
    published sizes would tune a hundred times the share of the encoders that they tune on ViT-B/16."""
    if proportion is None:
        return config.name in EMBEDDED
    return proportion == "width"


def scaled_width(value: int, step: int, width: int) -> int:
    """A number of channels that is given for ViT-B/16, on a width of 768, in proportion to a tower's width: a multiple
    of `step`, at least one.

    >>> scaled_width(144, 4, 96)
    16
    """
    steps = max(1, round(value * width / WIDTH / step))
    return steps * step


def scaled_options(rules: Rules, config: BackboneConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method in proportion to a backbone narrower than ViT-B/16; on a width of 768 and more, for which
    methods are published, `given` alone.

    An option that the user gave stays as it is. Heads and alpha follow the width and the rank that are in use, whether
    these are scaled or given.
    """
    options = dict(given)
    if config.width >= WIDTH:
        return options

    # Widths and depths first: heads and alpha follow them.
    for name, rule in rules.items():
        if name in options:
            continue
        if isinstance(rule, Width) and rule.published is not None:
            step = rule.step
            for other in rule.divisors:
                step = lcm(step, _size(given.get(other)) or 1)
            options[name] = scaled_width(rule.published, step, config.width)
        elif isinstance(rule, Depth):
            options[name] = max(rule.least, round(rule.published * config.depth / DEPTH))

    # A head keeps its width, alpha its ratio to the rank.
    for name, rule in rules.items():
        if name in options:
            continue
        if isinstance(rule, Heads):
            options[name] = _heads(rule, _published(rules, rule.of), _size(options[rule.of]))
        elif isinstance(rule, Alpha):
            rank = _size(options[rule.of]) or _published(rules, rule.of)
            options[name] = rule.published * rank / _published(rules, rule.of)
    return options


def _size(value: object) -> int | None:
    """A size that the user gave; None for anything else, which the component refuses or has a default for."""
    return value if isinstance(value, int) and value > 0 else None


def _published(rules: Rules, name: str) -> int:
    rule = rules[name]
    assert isinstance(rule, Width)
    assert rule.published is not None
    return rule.published


def _heads(rule: Heads, published_width: int, width: int | None) -> int:
    """The largest number of heads that divides `width`, up to the number that keeps a head's published width."""
    if width is None:
        return rule.published
    head_width = published_width // rule.published
    heads = max(1, round(width / head_width))
    while width % heads:
        heads -= 1
    return heads
