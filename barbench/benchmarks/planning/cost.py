"""What a cell's model costs by its shapes alone, and how fast a machine multiplies: for `barbench run --plan`."""

import json
import time
from functools import cache
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from barbench.benchmarks.job import Job
from barbench.engine import profile
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.towers.configs import RANDOM
from barbench.models.towers.load import load_backbone

KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
REPEATS, SECONDS = 5, 1.0
WORDS = 17  # tokens beside hundreds of patches: what five more cost is lost in an estimate
SHAPE = (2048, 768, 3072)  # tokens, width, width of the MLP: a block of a ViT-B on a few images


class Cost(NamedTuple):
    """`flops` of an image's forward pass, `saved` bytes of an image for the backward pass; parameters by number."""

    flops: int
    saved: int
    frozen: int
    tuned: int


def cost(job: Job) -> Cost:
    """Of the job's model: it is walked on the meta device, where nothing is computed."""
    options = json.dumps(job.cell.options, sort_keys=True)
    return _cost(job.cell.method, options, job.backbone, job.cell.image_size)


@cache
def _cost(reference: str, options: str, backbone: str, image_size: int | None) -> Cost:
    frozen = load_backbone(backbone, RANDOM, image_size, device="meta")
    segmenter = build_segmenter(resolve(reference)[0], frozen, options=json.loads(options))
    image, ids, mask = profile.example_batch(segmenter, frozen.image_size, WORDS, 2)
    tuned = sum(p.numel() for p in segmenter.tuned_parameters().values())
    with FlopCounterMode(display=False) as counter:  # both from one walk: walking is what a plan's time goes to
        saved = profile.saved_bytes(segmenter, image, ids, mask)
    return Cost(
        int(counter.get_total_flops()) // len(image),
        saved // len(image),
        sum(p.numel() for p in segmenter.parameters()) - tuned,
        tuned,
    )


@cache
def matrix_rate(device: str, precision: str, threads: int) -> float:
    """FLOPs a second of one large matrix product on `device`: the fastest of at least a second's, since whatever else
    the machine does can only slow one down."""
    torch.set_num_threads(threads)
    kind = KINDS[precision]
    rows, inner, columns = SHAPE
    a, b = (torch.randn(shape, device=device).to(kind) for shape in ((rows, inner), (inner, columns)))
    times: list[float] = []
    while len(times) < REPEATS or sum(times) < SECONDS:
        begin = time.perf_counter()
        product = a @ b
        product[0, 0].item()  # waits for a GPU
        times.append(time.perf_counter() - begin)
    return 2 * rows * inner * columns / min(times)
