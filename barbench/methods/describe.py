"""What a method is made of and how many parameters it tunes, without reading weights: `barbench list methods`."""

from collections.abc import Mapping, Sequence
from typing import Any

from barbench.methods.build import build_segmenter
from barbench.methods.catalog import MethodSpec, Options
from barbench.models.towers.configs import RANDOM
from barbench.models.towers.load import load_backbone


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
        One dictionary per method: name, title, components, parameter ledger, and `variant` where the method has one.
    """
    rows = []
    for spec in specs:
        frozen = load_backbone(backbone, RANDOM, image_size, device="meta")
        chosen = options.get(spec.name, {})
        components = spec.create(chosen).composition()
        ledger = build_segmenter(spec, frozen, options=chosen).ledger()
        row = {"name": spec.name, "title": spec.title, "components": components, "ledger": ledger}
        rows.append(row | {"variant": spec.variant} if spec.variant else row)
    return rows
