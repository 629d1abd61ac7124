"""Parts and parameter counts of the catalogue's methods, stored so that `barbench list methods` needs no torch.

`python -m tools.method_counts` writes them. They hold for the code that they were counted with; where methods or towers
were edited since, they are not used.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = Path(__file__).parents[1]
FILE: Final = Path(__file__).with_name("counts.json")
SOURCES: Final = (
    "methods/*.py",
    "models/*.py",
    "models/towers/*.py",
    "models/tiny/*.json",
    "spec/backbone.py",
    "spec/accounting.py",
)
"""The files that a count depends on."""
BACKBONES: Final = ("tiny", "ViT-B-16-quickgelu")

Counts = dict[str, dict[str, Any]]
"""Method -> `components`, `ledger`, `account`, `parts` and `options`, as `methods.describe` says them, and `sizes`, the
options that it was counted with."""


def fingerprint() -> str:
    """A hash of the code that counts depend on."""
    digest = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(PACKAGE.glob(pattern)):
            digest.update(path.relative_to(PACKAGE).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def stored_counts(backbone: str, image_size: int | None) -> Counts:
    """The counts on a backbone at its default image size, None, the only one that is stored; empty where there are
    none, or where they are of other code."""
    if image_size is not None or backbone not in BACKBONES or not FILE.is_file():
        return {}
    stored = json.loads(FILE.read_text("utf-8"))
    if stored["counted_with"] != fingerprint():
        return {}
    counts: Counts = stored["backbones"][backbone]
    return counts
