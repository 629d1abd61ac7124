"""The section `speed`: how long operations take, as multiples of a reference operation timed in turn with them.

The reference uses torch alone, with the same kinds of work as a training step, so that the ratio says something about
barbench's own code on any machine. One thread; the median over rounds; and on Linux without the time in which other
processes had the core, so that a busy machine does not look like a slow program.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from barbench.datasets.pixels.letterbox import Letterbox
from barbench.engine import profile
from barbench.engine.evaluate import evaluate
from barbench.methods.catalog import MethodSpec
from barbench.progress import OnProgress
from barbench.regression.fixtures import (
    DATASET,
    IMAGE_SIZE,
    PAPER,
    accelerator,
    evaluation,
    segmenter,
    shapes,
    training,
)
from barbench.regression.rules import Values
from tools.gate.fixtures import backward

ROUNDS = 7
BATCH = 4
REFERENCES = 6
ITEMS = 16
WAITED = Path("/proc/thread-self/schedstat")  # nanoseconds on a core, nanoseconds waiting for one, times on one
Operation = Callable[[], object]


def speed(progress: OnProgress) -> Values:
    """`<method>/training step`, `<method>/evaluation`, `data/<what>`, in units of the reference."""
    operations: dict[str, Operation] = {}
    samples = evaluation(shapes(), REFERENCES)
    for spec in PAPER:
        operations[f"{spec.name}/training step"] = _training_step(spec)
        model = segmenter(spec).eval()
        operations[f"{spec.name}/evaluation"] = partial(
            evaluate, model, samples, accelerator(), batch=8, threshold=0.35
        )
    operations |= _data()
    reference = _reference()

    # The first time is slower.
    for operation in (reference, *operations.values()):
        operation()

    # Each operation is timed between two runs of the reference, whose mean is its unit.
    times: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        before = seconds(reference)
        for name, operation in operations.items():
            taken = seconds(operation)
            after = seconds(reference)
            times.setdefault(name, []).append(2 * taken / (before + after))
            before = after
        progress(number + 1, ROUNDS)
    return {name: median(each) for name, each in times.items()}


def seconds(operation: Operation) -> float:
    """Duration of an operation, without the time in which this thread could run but others had the core."""
    waited_before = _waited()
    begin = time.perf_counter()
    operation()
    taken = time.perf_counter() - begin
    waited = _waited() - waited_before
    return max(taken - waited, 1e-9)


def _waited() -> float:
    """Seconds that this thread has waited for a core so far; 0 if the system does not say."""
    try:
        return int(WAITED.read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _training_step(spec: MethodSpec) -> Operation:
    model = segmenter(spec).train()
    image, ids, mask = profile.example_batch(model, IMAGE_SIZE, DATASET.context_length, BATCH)
    optimizer = torch.optim.AdamW(model.tuned_parameters().values(), lr=0.0)

    def step() -> None:
        optimizer.zero_grad()
        backward(model, image, ids, mask)
        optimizer.step()

    return step


def _data() -> dict[str, Operation]:
    """Decoding and letterboxing training items; bringing a prediction back to a picture of COCO's size."""
    samples = training(shapes(), ITEMS)
    letterbox = Letterbox(IMAGE_SIZE)
    probability = np.random.default_rng(0).random((IMAGE_SIZE, IMAGE_SIZE)).astype(np.float32)
    return {
        "data/training items": lambda: samples[list(range(ITEMS))],
        "data/restored predictions": lambda: [letterbox.restore(probability, 480, 640) for _ in range(ITEMS)],
    }


def _reference() -> Operation:
    """Forward and backward of transformer layers and a convolution of the tiny backbone's sizes."""
    torch.manual_seed(0)
    blocks = [nn.TransformerEncoderLayer(96, 3, 384, 0.0, "gelu", batch_first=True, norm_first=True) for _ in range(4)]
    layers = nn.Sequential(*blocks)
    convolution = nn.Conv2d(64, 64, 3, padding=1)
    tokens = torch.randn(4, 37, 96, requires_grad=True)
    images = torch.randn(4, 64, 24, 24, requires_grad=True)

    def run() -> None:
        total: Tensor = layers(tokens).square().mean() + convolution(images).square().mean()
        total.backward()  # type: ignore[no-untyped-call]

    return run
