"""What a method is made of and how many parameters it tunes, without weights: `barbench list methods`."""

from collections.abc import Mapping, Sequence
from typing import Any

from barbench.methods.build import build_segmenter
from barbench.methods.catalog import MethodSpec, Options
from barbench.models.towers.configs import RANDOM
from barbench.models.towers.load import load_backbone


def describe_methods(
    specs: Sequence[MethodSpec], backbone: str, image_size: int | None, options: Mapping[str, Options]
) -> list[dict[str, Any]]:
    """Name, title, components and parameter ledger of each method on a backbone, built on the meta device.

    Args:
        specs: the methods.
        backbone, image_size: what `load_backbone` accepts.
        options: of each method by name, `component.parameter` to value.
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
