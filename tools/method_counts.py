"""Count the parameters of every method and store them in the package: `python -m tools.method_counts`.

`barbench list methods` and `show` read `barbench/methods/counts.json` instead of building models, as long as the code
of methods and towers is the one that was counted.
"""

import json
from typing import Any

from barbench.methods.catalog import METHODS, MethodSpec
from barbench.methods.counts import BACKBONES, FILE, Counts, fingerprint
from barbench.methods.describe import describe_methods, describe_options, describe_parts, on_meta
from barbench.methods.entry import in_proportion
from barbench.spec.backbone import backbone_config


def shipped() -> list[MethodSpec]:
    """The methods of the catalogue, without those that other packages announce."""
    return [spec for spec in METHODS if spec.reference == spec.name]


def count(specs: list[MethodSpec], backbone: str) -> Counts:
    """What is stored of some methods on a backbone."""
    config = backbone_config(backbone)
    chosen = in_proportion(specs, config, None)
    counts: Counts = {}
    # Counts of all methods at once, then parts and options one by one.
    for row in describe_methods(specs, backbone, None, chosen):
        counts[row["name"]] = {key: row[key] for key in ("components", "ledger", "account")}
    for spec in specs:
        sizes = chosen[spec.name]
        stored = counts[spec.name]
        stored["sizes"] = sizes
        stored["parts"] = describe_parts(on_meta(spec, backbone, None, sizes))
        stored["options"] = describe_options(spec, sizes, config.family.name)
    return counts


def content() -> dict[str, Any]:
    """The whole file."""
    backbones = {backbone: count(shipped(), backbone) for backbone in BACKBONES}
    specs = shipped()
    published = {}
    for row in describe_methods(specs, "tiny", None, {}):
        published[row["name"]] = row["ledger"]["adapter"]
    return {"counted_with": fingerprint(), "backbones": backbones, "published": {"tiny": published}}


if __name__ == "__main__":
    FILE.write_text(json.dumps(content(), indent=1) + "\n", "utf-8")
    print(f"{len(shipped())} methods on {', '.join(BACKBONES)}: {FILE}")
