"""Evaluates many images of very different sizes, in a process with a worker's environment, and prints its memory.

python -m tests.complaints.evaluate_many FOLDER COUNT
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from barbench.datasets.pixels import masks
from barbench.datasets.pixels.images import ImageInfo
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.references import Annotation, ReferData, Reference, ReferSplit, Sentence
from barbench.datasets.samples import EvalSamples
from barbench.datasets.tokens import Tokens
from barbench.engine.evaluate import evaluate
from barbench.models.segmenter import Output
from barbench.paper.partitions import PAPER_PARTITIONS
from barbench.spec.backbone import CLIP_NORMALIZATION

SMALLEST, LARGEST, FILES, SQUARE = 50, 4_000, 40, 64
BETWEEN = 50
"""Images between two looks at the memory."""


class Guess(nn.Module):
    """In place of a segmenter, which would take most of the time: brightness, at a quarter of the square."""

    normalization = CLIP_NORMALIZATION

    def forward(self, image: Tensor, ids: Tensor, rows: Tensor) -> Output:
        """Images (U, 3, S, S) and rows (B,) to logits (B, 1, S / 4, S / 4)."""
        return Output(nn.functional.avg_pool2d(image.mean(1, keepdim=True), 4)[rows], None)


class File(NamedTuple):
    """An image file, and the mask of one object in it: the upper left quarter."""

    path: Path
    height: int
    width: int
    mask: masks.Rle


def draw(folder: Path) -> list[File]:
    """Files whose sides grow from the smallest to the largest in equal ratios."""
    generator = np.random.default_rng(0)
    sides = np.geomspace(SMALLEST, LARGEST, FILES).round().astype(int).tolist()
    files = []
    for number, (height, width) in enumerate(zip(sides, generator.permutation(sides).tolist(), strict=True)):
        path = folder / f"{number}.jpg"
        noise = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(noise, (width, height)))
        pixels = np.zeros((height, width), np.uint8)
        pixels[: height // 2, : width // 2] = 1
        files.append(File(path, height, width, masks.from_mask(pixels)))
    return files


def many(folder: Path, count: int) -> ReferSplit:
    """A split of `count` images, which share few files."""
    generator = np.random.default_rng(1)
    files = draw(folder)
    references = []
    images = {}
    annotations = {}
    for number in range(count):
        file = files[int(generator.integers(len(files)))]
        images[number] = ImageInfo(number, file.path, width=file.width, height=file.height)
        area = (file.height // 2) * (file.width // 2)
        annotations[number] = Annotation(number, number, file.mask, area)
        sentence = Sentence(number, "this")
        references.append(Reference(number, number, number, "", "val", (sentence,), (number,), number))
    data = ReferData(folder, PAPER_PARTITIONS.get("refcoco+"), tuple(references), images, annotations)
    return data.split("val")


def two_tokens(texts: list[str], length: int) -> Tensor:
    """The same ids (B, length) for any text."""
    ids = torch.zeros(len(texts), length, dtype=torch.long)
    ids[:, :2] = 1
    return ids


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main(folder: str, count: str) -> None:
    """Print the resident memory after each `BETWEEN` images as a JSON list."""
    torch.set_num_threads(1)
    samples = EvalSamples(many(Path(folder), int(count)), Letterbox(SQUARE), Tokens(two_tokens, 17))
    seen: list[int] = []

    def look(done: int, total: int, mean_iou: float) -> None:
        if done % BETWEEN == 0:
            seen.append(resident())

    evaluate(Guess(), samples, Accelerator(cpu=True), batch=10, threshold=0.5, on_batch=look)  # type: ignore[arg-type]
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
