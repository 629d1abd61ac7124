"""Time a training step of every method of pet-default on `tiny`: `python -m tools.step_times`.

All methods take turns in one process on one core, in CPU time, so that other load meets them alike. `step_times.json`
keeps the medians, and docs/benchmark.md shows them.
"""

import json
import time
from pathlib import Path
from statistics import median
from typing import Final

import torch

from barbench import build_segmenter
from barbench.engine.profile import example_batch
from barbench.methods.catalog import METHODS
from barbench.models.segmenter import Segmenter, training_loss

MEASURED: Final = Path(__file__).with_suffix(".json")
BACKBONE: Final = "tiny"
BATCH: Final = 8
TOKENS: Final = 17
ROUNDS: Final = 15
WARM_UP: Final = 2


def load() -> dict[str, float]:
    """Milliseconds of CPU time of a training step, by method."""
    found: dict[str, float] = json.loads(MEASURED.read_text("utf-8"))
    return found


def measure() -> dict[str, float]:
    """The same, measured now: the median over ROUNDS steps of 8 images."""
    torch.set_num_threads(1)
    models: dict[str, tuple[Segmenter, torch.optim.Optimizer]] = {}
    for spec in METHODS:
        if "pet-default" in spec.suites:
            segmenter = build_segmenter(spec.name, BACKBONE)
            optimizer = torch.optim.Adam(segmenter.tuned_parameters().values(), lr=0.0, fused=True)
            models[spec.name] = (segmenter, optimizer)
    times: dict[str, list[float]] = {name: [] for name in models}
    # In turn, so that other load meets all methods alike.
    for _ in range(WARM_UP + ROUNDS):
        for name, (segmenter, optimizer) in models.items():
            times[name].append(_step(segmenter, optimizer))
    return {name: round(1000 * median(own[WARM_UP:]), 1) for name, own in times.items()}


def _step(segmenter: Segmenter, optimizer: torch.optim.Optimizer) -> float:
    """CPU seconds of a forward pass with its loss, the backward pass and the optimizer's step."""
    image, ids, mask = example_batch(segmenter, segmenter.image_size, TOKENS, BATCH)
    segmenter.train()
    optimizer.zero_grad()
    begin = time.process_time()
    training_loss(segmenter(image, ids), mask).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return time.process_time() - begin


def main() -> None:
    """Measure and keep."""
    measured = measure()
    MEASURED.write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    for name, milliseconds in measured.items():
        print(f"{name:16} {milliseconds:6.1f} ms")


if __name__ == "__main__":
    main()
