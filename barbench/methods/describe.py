"""What a method is made of and how many parameters it tunes, without reading weights: `barbench list methods`,
`barbench show lora`."""

from collections.abc import Mapping, Sequence
from typing import Any

from barbench.errors import UnfitBackbone
from barbench.methods.base import Component
from barbench.methods.build import build_segmenter
from barbench.methods.catalog import COMPONENTS, KINDS, NONE, MethodSpec, Options
from barbench.methods.domains import REQUIRED, Option, Positions, component_options, domain_of
from barbench.methods.entry import EVERYWHERE, options_of
from barbench.models.segmenter import Segmenter
from barbench.models.towers.load import load_backbone
from barbench.spec.backbone import OWN_HEAD, RANDOM, HeadChoice


def describe_methods(
    specs: Sequence[MethodSpec],
    backbone: str,
    image_size: int | None,
    options: Mapping[str, Options],
) -> list[dict[str, Any]]:
    """One dictionary per method, grouped by kind in the order of `KINDS`, of models built on the meta device.

    It has kind, name, title, components, parameter ledger, `account` (see `Segmenter.account`), and `variant` where the
    method has one. Instead of the ledger, `refused` says why a method cannot be used on the backbone. `options` are by
    the method's name; an image size of None is the backbone's default.
    """
    rows = []
    for spec in sorted(specs, key=lambda spec: KINDS.index(spec.kind)):
        chosen = options.get(spec.name, NONE)
        components = spec.create(chosen).composition()
        row: dict[str, Any] = {"kind": spec.kind, "name": spec.name, "title": spec.title, "components": components}
        try:
            model = on_meta(spec, backbone, image_size, chosen)
            row["ledger"] = model.ledger()
            row["account"] = model.account()
        except UnfitBackbone as error:
            row["refused"] = str(error)
        if spec.variant:
            row["variant"] = spec.variant
        rows.append(row)
    return rows


def on_meta(
    spec: MethodSpec, backbone: str, image_size: int | None, options: Options, head: HeadChoice = OWN_HEAD
) -> Segmenter:
    """The segmenter of a method on the meta device, where no weights are read; with `load_backbone`'s arguments."""
    loaded = load_backbone(backbone, RANDOM, image_size, device="meta", head=head)
    return build_segmenter(spec, loaded, options=options)


def describe_options(spec: MethodSpec, options: Options = NONE, family: str = "clip") -> list[dict[str, Any]]:
    """Of each option of a method its name, value, the method's default, kind of value, range, choices and meaning; the
    backbones of the families `resnet` and `dinov2` have options of their own, for every method."""
    rows: list[dict[str, Any]] = []
    # What the user's own function takes.
    given = {**spec.options, **options}
    for name, option in options_of(spec).items():
        rows.append(_row(name, given.get(name, option.default), option.default, option))
    # What the components take.
    defaults = _settings(spec, NONE)
    settings = _settings(spec, options)
    if family in EVERYWHERE:
        for name, option in component_options(COMPONENTS[family]).items():
            settings.setdefault(f"{family}.{name}", option.default)
    for name, value in settings.items():
        component, _, parameter = name.partition(".")
        option = component_options(COMPONENTS[component])[parameter]
        rows.append(_row(name, value, defaults.get(name, option.default), option))
    positional = Option(Positions, "frozen", "whether the positional embeddings of both encoders are trained")
    rows.append(_row("positional", given.get("positional", "frozen"), "frozen", positional))
    return rows


def _settings(spec: MethodSpec, options: Options) -> dict[str, Any]:
    """Option -> value of all components that the catalogue makes."""
    settings: dict[str, Any] = {}
    for component in spec.create(options).components:
        if isinstance(component, Component):
            settings.update(component.settings)
    return settings


def _row(name: str, value: Any, default: Any, option: Option) -> dict[str, Any]:
    domain = domain_of(option.hint)
    return {
        "option": name,
        "value": _plain(value),
        "default": None if default is REQUIRED else _plain(default),
        "takes": str(domain),
        "kind": domain.kind,
        "range": domain.range,
        "choices": list(domain.choices),
        "meaning": option.meaning,
    }


def describe_parts(model: Segmenter) -> list[dict[str, Any]]:
    """One row per component and per tower of the encoders: its name, the parameters that are tuned there, and those of
    them that count as head instead."""
    of_head = {id(p) for p in model.method.head_parameters()}
    rows: list[dict[str, Any]] = []
    for component in model.method.modules():
        if not isinstance(component, Component):
            continue
        own = 0
        in_head = 0
        for p in component.parameters():
            if id(p) in of_head:
                in_head += p.numel()
            else:
                own += p.numel()
        rows.append({"part": component.label, "parameters": own, "booked as head": in_head})
    for tower in (model.vision, model.text):
        tuned = sum(p.numel() for p in tower.parameters() if p.requires_grad)
        rows.append({"part": f"{tower.name} tower's own", "parameters": tuned, "booked as head": 0})
    return rows


def _plain(value: Any) -> Any:
    """A value as a user would write it after `--option METHOD:name=`."""
    if isinstance(value, tuple | list | frozenset):
        return "+".join(map(str, value))
    return "null" if value is None else value
