"""Score a segmenter on one split, at each image's own resolution.

Every sentence is scored against its object, and against another object of the same image. The other object is the
control "is language used?": the same prediction, scored on what the words do not mean. That equals the model's score
with the expressions swapped within the image, and costs no second forward pass, since all pairs of image and expression
are predicted anyway.
"""

import time
from collections import deque
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
from barbench.engine.late import Late, lag
from barbench.engine.predict import predict_late, to_mask
from barbench.metrics import Scores, iou, overlap, summarize, summarize_columns
from barbench.models.segmenter import Segmenter

OnBatch = Callable[[int, int, float], None]
"""(expressions done, expressions of this process, mean IoU so far) -> None."""


class Evaluation(NamedTuple):
    """Scores of one split.

    Attributes:
        metrics: against the object that is meant.
        control: against another object of the image; None where no image has one.
        expressions: int64 columns of equal length, one row per expression in the samples' order: `intersection`,
            `union`, `control_intersection`, `control_union` (-1 where the image has no other object), and the fields of
            `samples.meta`.
        images_per_second: expressions per second of the model itself, over all processes.
    """

    metrics: Scores
    control: Scores | None
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
    """Score each expression exactly once, whatever the number of processes.

    Each process takes its own share, and the rows are gathered.

    Args:
        segmenter: on the accelerator's device.
        samples: the split.
        accelerator: device, precision and processes.
        batch: expressions per batch and process.
        threshold: probability above which a pixel is foreground.
        workers: processes that load images, and threads that count pixels while the device computes.
        on_batch: called after each batch with the expressions done, the expressions of this process, and the mean IoU
            so far.

    Returns:
        The same on every process.
    """
    segmenter.eval()
    with accelerator.split_between_processes(list(range(len(samples)))) as share:
        rows, seconds = _score_share(segmenter, samples, accelerator, list(share), batch, threshold, workers, on_batch)
    # From here on every process has the rows of all, in the samples' order.
    rows = sorted(gather_object(rows))
    columns = np.array([row[1:] for row in rows], dtype=np.int64).T
    names = ("intersection", "union", "control_intersection", "control_union")
    table = dict(zip(names, columns, strict=True))
    metas = [samples.meta(i) for i in range(len(samples))]
    general = samples.data.partition.allows_no_target
    fields = [name for name in metas[0]._fields if general or name != "targets"]
    table |= {name: np.array([getattr(m, name) for m in metas], np.int64) for name in fields}
    # The control exists for expressions whose image has another object.
    has = table["control_union"] >= 0
    control = summarize(table["control_intersection"][has], table["control_union"][has]) if has.any() else None
    per_second = len(samples) / max(sum(gather_object([seconds])) / accelerator.num_processes, 1e-9)
    return Evaluation(summarize_columns(table), control, table, per_second)


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
    """Rows of the expressions in `share`, and the seconds of the model's own forward passes."""
    loader: DataLoader[EvalBatch] = DataLoader(
        samples,
        batch_size=None,
        sampler=samples.batches(share, batch),
        num_workers=workers,
        pin_memory=accelerator.device.type == "cuda",
    )
    rows: list[Row] = []
    seconds, total = 0.0, 0.0

    def predicted() -> Iterator[Predicted]:
        nonlocal seconds
        launched: deque[tuple[list[int], Late]] = deque()

        def read() -> Predicted:
            nonlocal seconds
            begin = time.perf_counter()
            indices, late = launched.popleft()
            found = late.read().numpy()
            seconds += time.perf_counter() - begin
            return indices, found

        for items in loader:
            begin = time.perf_counter()
            launched.append((items.indices, predict_late(segmenter, items.images, items.ids, accelerator, items.rows)))
            seconds += time.perf_counter() - begin
            if len(launched) > lag(accelerator.device):  # on CUDA the next batch is computed while this one is read
                yield read()
        while launched:
            yield read()

    for counted in _counted(predicted(), _counter(samples, threshold), workers):
        rows += counted
        total += sum(float(iou(row[1], row[2])) for row in counted)
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
    """Counts the pixels of an expression's prediction against both objects, in the image's own pixels."""
    none_below = samples.data.partition.none_below or 0
    decoded = lru_cache(maxsize=32)(samples.data.mask)  # an object's expressions follow one another

    def count(index: int, probability: NDArray[np.float32]) -> Row:
        target, partner = decoded(samples.expressions[index].reference.ann_id), samples.partner(index)
        height, width = target.shape
        mask = to_mask(probability, samples.letterbox, height, width, threshold, none_below)
        control = (-1, -1) if partner is None else overlap(mask, decoded(partner.ann_id))
        return (index, *overlap(mask, target), *control)

    return count
