"""How long the small parts take: `python -m pytest tests/benchmarks/test_speed.py --benchmark-only`.

`comparing.py` says how two runs are compared. Skipped by default (`--benchmark-skip`), since a time says something only
on an idle machine.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from barbench.datasets.pixels.images import decode_image
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.refer import read_refer
from barbench.datasets.samples import EvalSamples
from barbench.datasets.tokens import Tokens
from barbench.engine.evaluate import evaluate
from barbench.engine.predict import probabilities, to_mask
from barbench.engine.profile import example_batch
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.methods.snf import HadamardFlow, PlanarFlow
from barbench.metrics import overlap, summarize
from barbench.models.hooks import Carry, Hooks
from barbench.models.segmenter import Segmenter, segmentation_loss, training_loss
from barbench.models.stream import Stream
from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone
from barbench.models.walk import run_block, walk
from barbench.paper.partitions import PAPER_PARTITIONS
from barbench.reports.tables.build import build_measured
from barbench.results.record import Cell, DataIdentity, Record, Scores, SplitResult
from barbench.results.store import Store

PAPER = ("etris", "snf", "snf-etris", "no-global", "barleria")


def tiny(method: str) -> tuple[Backbone, Segmenter, tuple[Tensor, Tensor, Tensor]]:
    """The tiny backbone, a method on it, and a batch of 8: image, ids, mask."""
    backbone = load_backbone("tiny", "random")
    segmenter = build_segmenter(resolve(method)[0], backbone)
    return backbone, segmenter, example_batch(segmenter, backbone.image_size, 17, 8)


@pytest.mark.parametrize("method", ["head-only", *PAPER, "full"])
def test_training_step(method: str, benchmark: BenchmarkFixture) -> None:
    """Forward and backward of `tiny`, batch 8."""
    _, segmenter, (image, ids, mask) = tiny(method)
    segmenter.train()

    def step() -> None:
        training_loss(segmenter(image, ids), mask).backward()

    benchmark(step)


@pytest.mark.parametrize("method", ["head-only", "barleria"])
def test_inference(method: str, benchmark: BenchmarkFixture) -> None:
    _, segmenter, (image, ids, _) = tiny(method)
    segmenter.eval()
    with torch.inference_mode():
        benchmark(segmenter, image, ids)


@pytest.fixture
def block_input() -> tuple[Backbone, Stream]:
    """A stack of blocks and its tokens, batch 8."""
    backbone = load_backbone("tiny", "random")
    return backbone, backbone.vision.embed(torch.randn(8, 3, backbone.image_size, backbone.image_size))


def test_block_step(block_input: tuple[Backbone, Stream], benchmark: BenchmarkFixture) -> None:
    """One frozen block, forward and backward to its input."""
    backbone, stream = block_input
    tokens = stream.tokens.detach().requires_grad_()

    def step() -> None:
        run_block(backbone.vision, 0, replace(stream, tokens=tokens), Hooks()).tokens.sum().backward()

    benchmark(step)


@pytest.mark.parametrize("flow", [PlanarFlow, HadamardFlow])
def test_flow(flow: type[PlanarFlow | HadamardFlow], benchmark: BenchmarkFixture) -> None:
    """Forward and backward of one shortcut at ViT-B/16's width."""
    module, x = flow(768, 4), torch.randn(2, 677, 768, requires_grad=True)
    benchmark(lambda: module(x).sum().backward())


@pytest.mark.parametrize("method", ["etris", "barleria"])
def test_component(method: str, benchmark: BenchmarkFixture) -> None:
    """The bridge's three stages; GST, which runs beside the encoders. Forward only, on the tiny backbone."""
    backbone, segmenter, (image, ids, _) = tiny(method)
    segmenter.eval()
    with torch.no_grad():
        vision, text = backbone.vision.embed(image), backbone.text.embed(ids)
        trace = walk(backbone.vision, backbone.text, segmenter.method, image, ids)
        query = segmenter.neck(trace.levels, trace.sentence)

        def stages() -> None:
            carry: Carry = {}
            for stage in range(3):
                segmenter.method.after_stage(stage, vision, text, carry)

        benchmark(stages if method == "etris" else partial(segmenter.method.fuse, query, trace))


def test_head(benchmark: BenchmarkFixture) -> None:
    """Neck, decoder and projector, without the encoders."""
    backbone, segmenter, (image, ids, _) = tiny("head-only")
    segmenter.eval()
    with torch.no_grad():
        trace = walk(backbone.vision, backbone.text, segmenter.method, image, ids)

        def head() -> None:
            query = segmenter.neck(trace.levels, trace.sentence)
            segmenter.projector(segmenter.decoder(query, trace.words, trace.pad), trace.sentence)

        benchmark(head)


def test_loss(benchmark: BenchmarkFixture) -> None:
    logits, mask = torch.randn(8, 1, 104, 104, requires_grad=True), torch.rand(8, 416, 416)
    benchmark(lambda: segmentation_loss(logits, mask).backward())


def test_inverse_warp(benchmark: BenchmarkFixture) -> None:
    probability = np.random.default_rng(0).random((416, 416)).astype(np.float32)
    benchmark(Letterbox(416).restore, probability, 480, 640)


def test_record_loading(tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    """Sixty records from their files."""
    store = Store(tmp_path)
    for method in PAPER:
        for protocol in ("refcoco", "refcoco+", "refcocog-u", "refcocog-g"):
            for seed in range(3):
                store.save(_record(method, protocol, seed))
    assert len(benchmark(lambda: Store(tmp_path).all())) == 60


def test_evaluation(shapes_root: Path, benchmark: BenchmarkFixture) -> None:
    """A whole split, images, model and counts."""
    backbone = load_backbone("tiny", "random")
    segmenter = build_segmenter(resolve("snf")[0], backbone).eval()
    split = read_refer(shapes_root, PAPER_PARTITIONS.get("refcoco+")).split("val")
    samples = EvalSamples(split, Letterbox(backbone.image_size), Tokens(backbone.tokenizer, 17))
    benchmark(evaluate, segmenter, samples, Accelerator(cpu=True), batch=8, threshold=0.35)


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
    data = read_refer(shapes_root, PAPER_PARTITIONS.get("refcoco"))
    benchmark(decode_image, next(iter(data.images.values())))


def test_read_refer(shapes_root: Path, benchmark: BenchmarkFixture) -> None:
    benchmark(read_refer, shapes_root, PAPER_PARTITIONS.get("refcoco"))


def test_summarize(benchmark: BenchmarkFixture) -> None:
    unions = np.random.default_rng(0).integers(1, 100_000, 10_834)
    benchmark(summarize, unions // 2, unions)


def test_table_building(benchmark: BenchmarkFixture) -> None:
    """Table 5 from five methods, four splits and three seeds."""
    records = [
        _record(method, protocol, seed)
        for method in PAPER
        for protocol in PAPER_PARTITIONS.names()
        for seed in range(3)
    ]  # fmt: skip
    assert benchmark(build_measured, "5", records)


def _record(method: str, protocol: str, seed: int) -> Record:
    cell = Cell(
        method=method, backbone="tiny", weights="pretrained", dataset=protocol, recipe={"name": "demo"}, seed=seed,
        data=DataIdentity(kind="shapes", fingerprint="f"),
    )  # fmt: skip
    value = 0.4 + 0.01 * seed
    scores = Scores(miou=value, oiou=value, p50=0.5, p60=0.4, p70=0.3, p80=0.2, p90=0.1, n=100)
    columns = PAPER_PARTITIONS.get(protocol).columns
    splits = {
        name: SplitResult(scores=scores, control=scores, column=column, images=10, references=20)
        for name, column in columns.items()
    }
    ledger = {"adapter": 1000, "positional": 0, "head": 5000, "frozen": 10_000}
    return Record(
        id=cell.id(), cell=cell, title=method, composition=("A",), ledger=ledger, status="done", splits=splits
    )
