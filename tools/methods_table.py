"""Prints the tables of counts of docs/methods-catalogue.md: `python tools/methods_table.py`. tests/test_catalogue.py
compares the page with them."""

from barbench.methods.build import build_segmenter
from barbench.methods.catalog import KINDS
from barbench.methods.resolve import resolve
from barbench.models.towers.load import load_backbone

BACKBONES = {"ViT-B/16": "ViT-B-16-quickgelu", "EVA02-B/16": "EVA02-B-16", "ViT-L/14": "ViT-L-14-quickgelu"}
RESNETS = {"RN50": "RN50-quickgelu", "RN101": "RN101-quickgelu"}


def counts(backbone: str) -> dict[str, int]:
    """Adapter parameters of every method that ships with barbench on a backbone, by name."""
    frozen = load_backbone(BACKBONES[backbone], "random", device="meta")
    return {spec.name: build_segmenter(spec, frozen).ledger()["adapter"] for spec in resolve("everything")}


def resnet_counts(backbone: str) -> dict[str, tuple[int, int]]:
    """Adapter and head parameters of the methods that can be used on a ResNet, by name."""
    found = {}
    for spec in resolve("everything"):
        frozen = load_backbone(RESNETS[backbone], "random", device="meta")
        if all(part.obstacle(transformer=False) is None for part in spec.create().components):
            ledger = build_segmenter(spec, frozen).ledger()
            found[spec.name] = ledger["adapter"], ledger["head"]
    return found


def main() -> None:
    columns = {title: counts(title) for title in BACKBONES}
    specs = sorted(resolve("everything"), key=lambda s: KINDS.index(s.kind))
    print("| kind | method | " + " | ".join(columns) + " |")
    print("|---|---|" + "---:|" * len(columns))
    for spec in specs:
        row = " | ".join(f"{by_name[spec.name]:,}" for by_name in columns.values())
        print(f"| {spec.kind} | `{spec.name}` | {row} |")
    resnets = [resnet_counts(title) for title in RESNETS]
    print("\n| method | RN50 | RN101 | head, RN50 | head, RN101 |\n|---|---:|---:|---:|---:|")
    for name in (spec.name for spec in specs if spec.name in resnets[0]):
        row = " | ".join(f"{found[name][place]:,}" for place in (0, 1) for found in resnets)
        print(f"| `{name}` | {row} |")


if __name__ == "__main__":
    main()
