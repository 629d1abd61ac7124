"""How long the small parts take: `python -m pytest tests/benchmarks/test_speed.py --benchmark-only`.

Skipped by default (`--benchmark-skip`), since a time says something only on an idle machine.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from barbench.datasets.protocols import PROTOCOLS
from barbench.datasets.refer import decode_image, read_refer
from barbench.datasets.transforms import Letterbox
from barbench.engine.metrics import overlap, summarise
from barbench.engine.predict import probabilities, to_mask
from barbench.engine.profile import example_batch
from barbench.methods.resolve import build_segmenter, resolve
from barbench.models.segmenter import segmentation_loss
from barbench.models.towers.load import load_backbone
from barbench.reports.tables import build_measured
from barbench.results.record import Cell, DataIdentity, Record, Scores, SplitResult

PAPER = ("etris", "snf", "snf-etris", "no-global", "barleria")


@pytest.mark.parametrize("method", ["head-only", *PAPER, "full"])
def test_training_step(method: str, benchmark: BenchmarkFixture) -> None:
    """Forward and backward of `tiny`, batch 8."""
    backbone = load_backbone("tiny", "random")
    segmenter = build_segmenter(resolve(method)[0], backbone).train()
    image, ids, mask = example_batch(segmenter, backbone.image_size, 17, 8)

    def step() -> None:
        output = segmenter(image, ids)
        loss = segmentation_loss(output.logits, mask)
        (loss if output.loss_extra is None else loss + output.loss_extra).backward()

    benchmark(step)


@pytest.mark.parametrize("method", ["head-only", "barleria"])
def test_inference(method: str, benchmark: BenchmarkFixture) -> None:
    backbone = load_backbone("tiny", "random")
    segmenter = build_segmenter(resolve(method)[0], backbone).eval()
    image, ids, _ = example_batch(segmenter, backbone.image_size, 17, 8)
    with torch.inference_mode():
        benchmark(segmenter, image, ids)


def test_predict_and_restore(benchmark: BenchmarkFixture) -> None:
    """A prediction from the logits' grid to an image of COCO's size, and its counts."""
    letterbox, logits = Letterbox(416), torch.randn(1, 1, 104, 104)
    target = np.zeros((480, 640), np.uint8)
    target[100:300, 200:400] = 1

    def restore() -> tuple[int, int]:
        return overlap(to_mask(probabilities(logits, 416)[0].numpy(), letterbox, 480, 640, 0.35), target)

    benchmark(restore)


def test_letterbox(benchmark: BenchmarkFixture) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    benchmark(Letterbox(416).image, picture)


def test_decode(shapes_root: Path, benchmark: BenchmarkFixture) -> None:
    data = read_refer(shapes_root, PROTOCOLS.get("refcoco"))
    benchmark(decode_image, next(iter(data.images.values())))


def test_read_refer(shapes_root: Path, benchmark: BenchmarkFixture) -> None:
    benchmark(read_refer, shapes_root, PROTOCOLS.get("refcoco"))


def test_summarise(benchmark: BenchmarkFixture) -> None:
    unions = np.random.default_rng(0).integers(1, 100_000, 10_834)
    benchmark(summarise, unions // 2, unions)


def test_table_building(benchmark: BenchmarkFixture) -> None:
    """Table 5 from five methods, four splits and three seeds."""
    records = [
        _record(method, protocol, seed)
        for method in PAPER
        for protocol in PROTOCOLS.names()
        for seed in range(3)
    ]  # fmt: skip
    assert benchmark(build_measured, "5", records)


def _record(method: str, protocol: str, seed: int) -> Record:
    cell = Cell(
        method=method, backbone="tiny", weights="pretrained", protocol=protocol, recipe={"name": "demo"}, seed=seed,
        data=DataIdentity(kind="shapes", fingerprint="f"),
    )  # fmt: skip
    value = 0.4 + 0.01 * seed
    scores = Scores(miou=value, oiou=value, p50=0.5, p60=0.4, p70=0.3, p80=0.2, p90=0.1, n=100)
    columns = PROTOCOLS.get(protocol).columns
    splits = {
        name: SplitResult(scores=scores, control=scores, column=column, images=10, references=20)
        for name, column in columns.items()
    }
    ledger = {"adapter": 1000, "positional": 0, "head": 5000, "frozen": 10_000}
    return Record(
        id=cell.id(), cell=cell, title=method, composition=("A",), ledger=ledger, status="done", splits=splits
    )
