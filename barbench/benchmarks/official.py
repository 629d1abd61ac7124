"""Evaluates a checkpoint of the authors' public code: `barbench evaluate --weights FILE.pth --codebase etris`."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from barbench.benchmarks.elsewhere import Row, readable_scores
from barbench.datasets.content import read_dataset
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.samples import EvalSamples
from barbench.datasets.sources import find_source
from barbench.datasets.tokens import Tokens
from barbench.engine.accelerator import make_accelerator
from barbench.engine.evaluate import evaluate
from barbench.methods.build import build_segmenter
from barbench.methods.released import Format, fill, read_release, with_head
from barbench.methods.resolve import resolve
from barbench.models.segmenter import Segmenter
from barbench.models.towers.load import load_backbone
from barbench.spec.backbone import RANDOM
from barbench.spec.dataset import Dataset


def load_official(weights: Path, codebase: Format, backbone: str, image_size: int | None) -> Segmenter:
    """Build the model of a checkpoint on the CPU; everything comes from it, the encoders too. An image size of None is
    the backbone's own. DataError if the file does not fit the backbone."""
    release = read_release(weights, codebase)
    frozen = with_head(load_backbone(backbone, RANDOM, image_size), release)
    segmenter = build_segmenter(resolve(release.method)[0], frozen, options=release.options)
    fill(segmenter, release)
    return segmenter


def evaluate_official(
    segmenter: Segmenter,
    datasets: Sequence[Dataset],
    data: str | None,
    device: str,
    batch: int,
    threshold: float,
    console: Console,
) -> list[Row]:
    """Evaluate a model of `load_official` on every evaluation split: a row for each, with the metrics in percent.

    Args:
        batch: expressions per forward pass.
    """
    accelerator = make_accelerator(device)
    segmenter.to(accelerator.device)
    letterbox = Letterbox(segmenter.image_size, segmenter.normalization)
    rows: list[Row] = []
    for dataset in datasets:
        # Context lengths may differ between datasets.
        found = read_dataset(find_source(data, dataset).root, dataset)
        tokens = Tokens(segmenter.tokenizer, dataset.context_length)
        for split in dataset.evaluation_splits:
            samples = EvalSamples(found.evals[split.key], letterbox, tokens)
            with console.status(f"{split.partition.title} {split.split}: {len(samples)} expressions"):
                result = evaluate(segmenter, samples, accelerator, batch=batch, threshold=threshold)
            name = f"{split.partition.name} {split.split}"
            rows.append({"split": name, **readable_scores(result.metrics, result.control)})
        for member in found.members:
            for line in member.problems.lines():
                console.print(f"note: {line}", markup=False, soft_wrap=True)
    return rows
