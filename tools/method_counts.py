"""Count the parameters of every method and store them in the package: `python -m tools.method_counts`.

`barbench list methods` and `show` read `barbench/methods/counts.json` instead of building models, as long as the code
of methods and towers is the one that was counted.
"""

import json
from typing import Any

from barbench.methods.catalog import METHODS, MethodSpec
from barbench.methods.counts import BACKBONES, FILE, Counts, fingerprint
from barbench.methods.describe import describe_methods, describe_options, describe_parts
from barbench.spec.backbone import backbone_config


def shipped() -> list[MethodSpec]:
    """The methods of the catalogue, without those that other packages announce."""
    return [spec for spec in METHODS if spec.reference == spec.name]


def count(specs: list[MethodSpec], backbone: str) -> Counts:
    """What is stored of some methods on a backbone."""
    counts: Counts = {}
    for row in describe_methods(specs, backbone, None, {}):
        counts[row["name"]] = {key: row[key] for key in ("components", "ledger", "account")}
    for spec in specs:
        counts[spec.name]["parts"] = describe_parts(spec, backbone, None)
        counts[spec.name]["options"] = describe_options(spec, {}, transformer=backbone_config(backbone).transformer)
    return counts


def content() -> dict[str, Any]:
    """The whole file."""
    backbones = {backbone: count(shipped(), backbone) for backbone in BACKBONES}
    return {"counted_with": fingerprint(), "backbones": backbones}


if __name__ == "__main__":
    FILE.write_text(json.dumps(content(), indent=1) + "\n", "utf-8")
    print(f"{len(shipped())} methods on {', '.join(BACKBONES)}: {FILE}")
