"""Evaluates a checkpoint of the authors' public code: `barbench evaluate --weights FILE.pth --layout etris`."""

from pathlib import Path
from typing import Any

from rich.console import Console

from barbench.benchmarks.matrix import choose_datasets
from barbench.datasets.content import read_dataset
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.samples import EvalSamples
from barbench.datasets.sources import find_source
from barbench.datasets.tokens import Tokens
from barbench.engine.accelerator import make_accelerator
from barbench.engine.evaluate import evaluate
from barbench.errors import DataError
from barbench.methods.build import build_segmenter
from barbench.methods.released import Format, fill, read_release, with_head
from barbench.methods.resolve import resolve
from barbench.metrics import METRICS
from barbench.models.towers.load import load_backbone
from barbench.paper.partitions import Exif
from barbench.spec.backbone import RANDOM


def evaluate_official(
    weights: Path,
    layout: Format,
    split: str,
    data: str | None,
    backbone: str,
    image_size: int | None,
    device: str,
    batch: int,
    threshold: float,
    console: Console,
    exif: Exif = "stored",
) -> list[dict[str, Any]]:
    """Evaluate a checkpoint; everything comes from it, the encoders too.

    Args:
        weights: the file.
        layout: whose code wrote it.
        split: comma list of datasets.
        data: as for `find_source`.
        backbone: open_clip's name.
        image_size: side of the square in pixels; None for the backbone's own.
        device: as torch names it.
        batch: expressions per forward pass.
        threshold: probability above which a pixel is in the mask.
        console: for progress and notes.
        exif: how images are read.

    Returns:
        One row per evaluation split: the metrics in percent, and the mean IoU with expressions swapped.

    Raises:
        DataError: if the file is absent or does not fit the backbone.
        UnknownName: for an unknown dataset or backbone.
        MissingData: if the data root lacks a file.
    """
    if not weights.is_file():
        raise DataError(f"--weights {weights}: no such file")
    release = read_release(weights, layout)
    frozen = with_head(load_backbone(backbone, RANDOM, image_size), release)
    segmenter = build_segmenter(resolve(release.method)[0], frozen, options=release.options)
    fill(segmenter, release)
    accelerator = make_accelerator(device)
    segmenter.to(accelerator.device)
    letterbox = Letterbox(frozen.image_size, frozen.normalization)
    rows = []
    for task in choose_datasets(split, data, exif=exif):
        found = read_dataset(find_source(data, task).root, task)
        tokens = Tokens(frozen.tokenizer, task.context_length)
        for key, protocol, name in task.evaluation_splits:
            samples = EvalSamples(found.evals[key], letterbox, tokens)
            with console.status(f"{protocol.title} {name}: {len(samples)} expressions"):
                result = evaluate(segmenter, samples, accelerator, batch=batch, threshold=threshold)
            row: dict[str, str | float | None] = {"split": f"{protocol.name} {name}"}
            for metric, score in result.metrics.values.items():
                row[METRICS[metric].label] = METRICS[metric].factor * score
            row["swapped mIoU"] = 100 * result.control.mean if result.control else None
            row["expressions"] = result.metrics.n
            rows.append(row)
        for line in (line for member in found.members for line in member.problems.lines()):
            console.print(f"note: {line}", markup=False, soft_wrap=True)
    return rows
