"""The counts in docs/methods-catalogue.md, made with the site: `python tools/methods_table.py` prints the whole page.

The page holds a mark where a table belongs; tools/site_hooks.py fills it.
"""

from pathlib import Path

from barbench.methods.base import Traits
from barbench.methods.build import build_segmenter
from barbench.methods.catalog import KINDS, MethodSpec
from barbench.methods.resolve import resolve
from barbench.models.towers.load import load_backbone
from barbench.spec.backbone import backbone_config

PAGE = Path(__file__).parents[1] / "docs" / "methods-catalogue.md"
BACKBONES = {"ViT-B/16": "ViT-B-16-quickgelu", "EVA02-B/16": "EVA02-B-16", "ViT-L/14": "ViT-L-14-quickgelu"}
RESNETS = {"RN50": "RN50-quickgelu", "RN101": "RN101-quickgelu"}
COUNTS_MARK = "<!-- counts -->"
RESNETS_MARK = "<!-- counts on ResNets -->"


def counts(backbone: str) -> dict[str, int]:
    """Adapter parameters of every method that ships with barbench on a backbone, by name."""
    frozen = load_backbone(backbone, "random", device="meta")
    return {spec.name: build_segmenter(spec, frozen).ledger()["adapter"] for spec in resolve("everything")}


def resnet_counts(backbone: str) -> dict[str, tuple[int, int]]:
    """Adapter and head parameters of the methods that can be used on a ResNet, by name."""
    config = backbone_config(backbone)
    traits = Traits(config.transformer, config.aligned)
    found = {}
    for spec in resolve("everything"):
        components = spec.create().components
        if any(component.obstacle(traits) for component in components):
            continue
        frozen = load_backbone(backbone, "random", device="meta")
        ledger = build_segmenter(spec, frozen).ledger()
        found[spec.name] = ledger["adapter"], ledger["head"]
    return found


def count_table(backbones: dict[str, str] = BACKBONES) -> str:
    """Adapter parameters of every method, a column for each of `backbones` (title -> name), in Markdown."""
    columns = [counts(name) for name in backbones.values()]
    lines = [f"| kind | method | {' | '.join(backbones)} |", f"|---|---|{'---:|' * len(columns)}"]
    for spec in _by_kind():
        numbers = [f"{column[spec.name]:,}" for column in columns]
        lines.append(f"| {spec.kind} | `{spec.name}` | {' | '.join(numbers)} |")
    return "\n".join(lines)


def resnet_table() -> str:
    """Adapter and head parameters of the methods that can be used on ResNets, in Markdown."""
    columns = [resnet_counts(name) for name in RESNETS.values()]
    heads = [f"head, {title}" for title in RESNETS]
    lines = [f"| method | {' | '.join([*RESNETS, *heads])} |", f"|---|{'---:|' * 2 * len(columns)}"]
    for spec in _by_kind():
        if spec.name not in columns[0]:
            continue
        adapters = [f"{column[spec.name][0]:,}" for column in columns]
        head_sizes = [f"{column[spec.name][1]:,}" for column in columns]
        lines.append(f"| `{spec.name}` | {' | '.join([*adapters, *head_sizes])} |")
    return "\n".join(lines)


def catalogue_page() -> str:
    """The page with its tables."""
    page = PAGE.read_text("utf-8")
    return page.replace(COUNTS_MARK, count_table()).replace(RESNETS_MARK, resnet_table())


def _by_kind() -> list[MethodSpec]:
    return sorted(resolve("everything"), key=lambda spec: KINDS.index(spec.kind))


if __name__ == "__main__":
    print(catalogue_page())
