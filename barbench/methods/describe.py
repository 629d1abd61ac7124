"""What a method is made of and how many parameters it tunes, without reading weights: `barbench list methods`,
`barbench show lora`."""

from collections.abc import Mapping, Sequence
from typing import Any

from barbench.errors import UnfitBackbone
from barbench.methods.base import Component
from barbench.methods.build import build_segmenter
from barbench.methods.catalog import KINDS, NONE, MethodSpec, Options
from barbench.models.segmenter import Segmenter
from barbench.models.towers.load import load_backbone
from barbench.spec.backbone import RANDOM


def describe_methods(
    specs: Sequence[MethodSpec], backbone: str, image_size: int | None, options: Mapping[str, Options]
) -> list[dict[str, Any]]:
    """Describe methods on a backbone, built on the meta device.

    Args:
        specs: the methods.
        backbone: what `load_backbone` accepts as a name.
        image_size: side in pixels; None: the backbone's default.
        options: method name -> `component.parameter` -> value.

    Returns:
        One dictionary per method, grouped by kind in the order of `KINDS`: kind, name, title, components, parameter
        ledger, and `variant` where the method has one. In place of the ledger, `refused` says why a method cannot be
        used on a ResNet.
    """
    rows = []
    for spec in sorted(specs, key=lambda spec: KINDS.index(spec.kind)):
        chosen = options.get(spec.name, NONE)
        components = spec.create(chosen).composition()
        row: dict[str, Any] = {"kind": spec.kind, "name": spec.name, "title": spec.title, "components": components}
        try:
            row["ledger"] = _on_meta(spec, backbone, image_size, chosen).ledger()
        except UnfitBackbone as error:
            row["refused"] = str(error)
        rows.append(row | {"variant": spec.variant} if spec.variant else row)
    return rows


def describe_options(spec: MethodSpec, options: Options = NONE) -> list[dict[str, Any]]:
    """One row per option of a method.

    Args:
        spec: the method.
        options: `component.parameter` to value.

    Returns:
        Name and value of each option, the method's own default where it is not given.
    """
    made = spec.create(options)
    settings = [s for c in made.components if isinstance(c, Component) for s in c.settings.items()]
    rows = [{"option": name, "value": _plain(value)} for name, value in settings]
    return [*rows, {"option": "positional", "value": {**spec.options, **options}.get("positional", "frozen")}]


def describe_parts(
    spec: MethodSpec, backbone: str, image_size: int | None, options: Options = NONE
) -> list[dict[str, Any]]:
    """One row per component and per tower of the encoders: the numbers of parameters that are tuned there.

    Args:
        spec: the method.
        backbone: what `load_backbone` accepts as a name.
        image_size: side in pixels; None: the backbone's default.
        options: `component.parameter` to value.

    Returns:
        The name of each part, its tuned parameters, and those of them that count as head.
    """
    model = _on_meta(spec, backbone, image_size, options)
    booked = {id(p) for p in model.method.head_parameters()}
    rows = []
    for c in _components(model):
        sizes = [p.numel() for p in c.parameters() if id(p) not in booked]
        head = sum(p.numel() for p in c.parameters() if id(p) in booked)
        rows.append({"part": c.label, "parameters": sum(sizes), "booked as head": head})
    for tower in (model.vision, model.text):
        tuned = sum(p.numel() for p in tower.parameters() if p.requires_grad)
        rows.append({"part": f"{tower.name} tower's own", "parameters": tuned, "booked as head": 0})
    return rows


def _on_meta(spec: MethodSpec, backbone: str, image_size: int | None, options: Options) -> Segmenter:
    return build_segmenter(spec, load_backbone(backbone, RANDOM, image_size, device="meta"), options=options)


def _components(model: Segmenter) -> list[Component]:
    return [c for c in model.method.modules() if isinstance(c, Component)]


def _plain(value: Any) -> Any:
    """A value as a user would write it after `--option METHOD:name=`."""
    if isinstance(value, tuple | list | frozenset):
        return "+".join(map(str, value))
    return "null" if value is None else value
