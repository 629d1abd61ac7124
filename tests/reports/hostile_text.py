"""Text that anybody may have typed, and panels that hold it."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

TITLE = '<script>alert(hacked=1)</script> $x$ & "q"'
EXPRESSION = 'the man\'s "red" <b>hat</b> & tie'


def write_panels(folder: Path, count: int = 1) -> None:
    """A picture of noise, listed `count` times, and one that does not exist."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (200, 600, 3), np.uint8)
    Image.fromarray(noise).save(folder / "one.png")
    methods = [{"title": TITLE, "iou": 0.5}, {"title": "ETRIS", "iou": 0.123}]
    entry = {"title": "image 7", "expression": EXPRESSION, "pick": "disagree", "methods": methods}
    listed = [{"file": "one.png", **entry}] * count + [{"file": "gone.png", **entry}]
    (folder / "panels.json").write_text(json.dumps(listed))
