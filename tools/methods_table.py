"""Prints the table of counts of docs/methods-catalogue.md: `python tools/methods_table.py`. tests/test_catalogue.py
compares the page with it."""

from barbench.methods.build import build_segmenter
from barbench.methods.catalog import KINDS
from barbench.methods.resolve import resolve
from barbench.models.towers.load import load_backbone

BACKBONES = {"ViT-B/16": "ViT-B-16-quickgelu", "EVA02-B/16": "EVA02-B-16", "ViT-L/14": "ViT-L-14-quickgelu"}


def counts(backbone: str) -> dict[str, int]:
    """Adapter parameters of every method that ships with barbench on a backbone, by name."""
    frozen = load_backbone(BACKBONES[backbone], "random", device="meta")
    return {spec.name: build_segmenter(spec, frozen).ledger()["adapter"] for spec in resolve("everything")}


def main() -> None:
    columns = {title: counts(title) for title in BACKBONES}
    print("| kind | method | " + " | ".join(columns) + " |")
    print("|---|---|" + "---:|" * len(columns))
    for spec in sorted(resolve("everything"), key=lambda s: KINDS.index(s.kind)):
        row = " | ".join(f"{by_name[spec.name]:,}" for by_name in columns.values())
        print(f"| {spec.kind} | `{spec.name}` | {row} |")


if __name__ == "__main__":
    main()
