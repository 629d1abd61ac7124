"""Score a segmenter on one split: every sentence, at the image's own resolution, against its object and against
another.

The other object is the control "is language used?": the same prediction scored on what the words do not mean, which is
the model's score with expressions swapped within the image. It costs no second pass, since swapping permutes the pairs
of image and expression that are predicted anyway.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from barbench.datasets.samples import EvalBatch, EvalSamples
from barbench.engine.predict import predict, to_mask
from barbench.metrics import Metrics, overlap, summarise
from barbench.models.segmenter import Segmenter

OnBatch = Callable[[int, int, float], None]  # expressions done, expressions in all, mean IoU so far


class Evaluation(NamedTuple):
    """`expressions`: int64 columns of equal length, one row an expression in the samples' order: `intersection`,
    `union`, `control_intersection`, `control_union` (-1 where the image has no other object), and what `samples.meta`
    gives.
    """

    metrics: Metrics
    control: Metrics | None
    expressions: dict[str, NDArray[np.int64]]
    images_per_second: float


def evaluate(
    segmenter: Segmenter,
    samples: EvalSamples,
    accelerator: Accelerator,
    *,
    batch: int,
    threshold: float,
    workers: int = 0,
    on_batch: OnBatch | None = None,
) -> Evaluation:
    """Each expression exactly once, whatever the number of processes: each takes its own share and the rows are
    gathered. `workers` is how many processes load images, and how many threads count pixels beside the device."""
    segmenter.eval()
    with accelerator.split_between_processes(list(range(len(samples)))) as share:
        rows, seconds = _score_share(segmenter, samples, accelerator, list(share), batch, threshold, workers, on_batch)
    rows = sorted(gather_object(rows))
    columns = np.array([row[1:] for row in rows], dtype=np.int64).T
    names = ("intersection", "union", "control_intersection", "control_union")
    table = dict(zip(names, columns, strict=True))
    metas = [samples.meta(i) for i in range(len(samples))]
    table |= {name: np.array([getattr(m, name) for m in metas], np.int64) for name in metas[0]._fields}
    has = table["control_union"] >= 0
    control = summarise(table["control_intersection"][has], table["control_union"][has]) if has.any() else None
    rate = len(samples) / max(sum(gather_object([seconds])) / accelerator.num_processes, 1e-9)
    return Evaluation(summarise(table["intersection"], table["union"]), control, table, rate)


Row = tuple[int, int, int, int, int]  # index, then the four counts
Predicted = tuple[list[int], NDArray[np.float32]]  # a batch's indices and probabilities (B, S, S)
Count = Callable[[int, NDArray[np.float32]], Row]


def _score_share(
    segmenter: Segmenter,
    samples: EvalSamples,
    accelerator: Accelerator,
    share: list[int],
    batch: int,
    threshold: float,
    workers: int,
    on_batch: OnBatch | None,
) -> tuple[list[Row], float]:
    """Rows of the expressions in `share`, and the seconds that the model itself took."""
    loader: DataLoader[EvalBatch] = DataLoader(
        samples, batch_size=None, sampler=samples.batches(share, batch), num_workers=workers
    )
    rows: list[Row] = []
    seconds, total = 0.0, 0.0

    def predicted() -> Iterator[Predicted]:
        nonlocal seconds
        for items in loader:
            begin = time.perf_counter()
            found = predict(segmenter, items.images, items.ids, accelerator, items.rows)
            seconds += time.perf_counter() - begin
            yield items.indices, found

    for counted in _counted(predicted(), _counter(samples, threshold), workers):
        rows += counted
        total += sum(row[1] / max(row[2], 1) for row in counted)
        if on_batch is not None:
            on_batch(len(rows), len(share), total / len(rows))
    return rows, seconds


def _counted(batches: Iterable[Predicted], count: Count, threads: int) -> Iterator[list[Row]]:
    """The rows of each batch; with `threads`, they are counted while the device computes the next batch."""
    if threads == 0:
        yield from (list(map(count, *batch)) for batch in batches)
        return
    with ThreadPoolExecutor(threads) as pool:
        before: Iterator[Row] | None = None
        for batch in batches:
            rows = pool.map(count, *batch)
            if before is not None:
                yield list(before)
            before = rows
        if before is not None:
            yield list(before)


def _counter(samples: EvalSamples, threshold: float) -> Count:
    """Counts pixels of an expression's prediction, back in the image's own pixels, against both objects."""
    decoded = lru_cache(maxsize=32)(samples.data.mask)  # an object's expressions follow one another

    def count(index: int, probability: NDArray[np.float32]) -> Row:
        target, partner = decoded(samples.expressions[index].reference.ann_id), samples.partner(index)
        height, width = target.shape
        mask = to_mask(probability, samples.letterbox, height, width, threshold)
        control = (-1, -1) if partner is None else overlap(mask, decoded(partner.ann_id))
        return (index, *overlap(mask, target), *control)

    return count
