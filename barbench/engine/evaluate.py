"""Score a segmenter on one split, at each image's own resolution.

Every sentence is scored against its object, and against another object of the same image. The other object is the
control "is language used?": the same prediction, scored on what the words do not mean. That equals the model's score
with the expressions swapped within the image, and costs no second forward pass, since all pairs of image and expression
are predicted anyway.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from barbench.datasets.pixels.masks import join_codes
from barbench.datasets.samples import EvalBatch, EvalSamples
from barbench.engine.counting import Count, Row, counter
from barbench.engine.partial import PartialEvaluation, Scored, long_table
from barbench.engine.pending import PendingTensor, steps_in_flight
from barbench.engine.predict import predict_pending
from barbench.metrics import Columns, Scores, identity_columns, iou, summarize, summarize_columns
from barbench.models.segmenter import Segmenter

OnBatch = Callable[[int, int, float], None]
"""(expressions done, expressions of this process, mean IoU so far) -> None."""


class Evaluation(NamedTuple):
    """Scores of one split.

    Attributes:
        metrics: against the object that is meant.
        control: against another object of the image; None where no image has one.
        expressions: int64 columns of equal length, one row per expression in the samples' order: the counts of
            `counting.Row` without its rivals (-1 where there is nothing to count), and the fields of `samples.meta`.
        images_per_second: expressions per second of the model itself, over all processes.
        rivals: what the predictions share with other objects of their images: int64 columns of equal length, sorted by
            `row`, the expression's place in `expressions`; `ann_id`, `category_id`, `intersection`, `area` of the other
            object. All of the target's category, and of other categories what the prediction meets; crowds apart.
            None where it is not known what the images hold.
        masks: what was predicted, as `kept_masks` has it; None where it was not to be kept.
    """

    metrics: Scores
    control: Scores | None
    expressions: dict[str, NDArray[np.int64]]
    images_per_second: float
    rivals: dict[str, NDArray[np.int64]] | None = None
    masks: dict[str, NDArray[Any]] | None = None


def evaluate(
    segmenter: Segmenter,
    samples: EvalSamples,
    accelerator: Accelerator,
    *,
    batch: int,
    threshold: float,
    workers: int = 0,
    on_batch: OnBatch | None = None,
    partial: PartialEvaluation | None = None,
    keep_masks: bool = False,
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
        partial: of this process: what it holds is not scored again, and what is scored is kept there. Batches are cut
            as without it, so that the counts are the same to the last pixel. None keeps nothing.
        keep_masks: whether what is predicted is kept, about half a kilobyte per expression.

    Returns:
        The same on every process.
    """
    segmenter.eval()
    before = Scored([], 0.0) if partial is None else partial.load()
    with accelerator.split_between_processes(list(range(len(samples)))) as split:
        share = list(split)
        known = {row[0] for row in before.rows}
        batches = [indices for indices in samples.batches(share, batch) if not known.issuperset(indices)]
        predictions = _Predictions(segmenter, accelerator, _loader(samples, accelerator, batches, workers))
        counted = _counted(predictions, counter(samples, threshold, keep_masks), workers)
        rows = _gather(counted, before, predictions, partial, len(share), on_batch)
    seconds = before.seconds + predictions.seconds
    # From here on every process has the rows of all, in the samples' order.
    rows = sorted(gather_object(rows))
    names = Row._fields[1:-2]
    columns = np.array([row[1:-2] for row in rows], dtype=np.int64).T
    table = dict(zip(names, columns, strict=True))
    rivals = _rivals(samples, rows)
    if rivals is None:
        del table["crowd_intersection"]

    # What the samples say of each expression; only some datasets have expressions without a target, or groups.
    metas = [samples.meta(i) for i in range(len(samples))]
    left_out = set()
    if not samples.data.partition.allows_no_target:
        left_out.add("targets")
    if all(meta.group == meta.ref_id for meta in metas):
        left_out.add("group")
    for name in metas[0]._fields:
        if name not in left_out:
            table[name] = np.array([getattr(meta, name) for meta in metas], np.int64)

    # The control exists for expressions whose image has another object.
    has_control = table["control_union"] >= 0
    control = None
    if has_control.any():
        control = summarize(table["control_intersection"][has_control], table["control_union"][has_control])

    mean_seconds = sum(gather_object([seconds])) / accelerator.num_processes
    per_second = len(samples) / max(mean_seconds, 1e-9)
    scored: Columns = table if rivals is None else table | identity_columns(table, rivals)
    return Evaluation(
        summarize_columns(scored), control, table, per_second, rivals, kept_masks(rows, table) if keep_masks else None
    )


Predicted = tuple[list[int], NDArray[np.float32]]  # a batch's indices and probabilities (B, S, S)


def kept_masks(rows: Sequence[Row], table: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
    """The masks of rows as they are stored: `counts` and `offsets` as `join_codes` gives them, and `sent_id`, `height`,
    `width` of each, (n,)."""
    counts, offsets = join_codes([row.mask for row in rows])
    kept: dict[str, NDArray[Any]] = {"counts": counts, "offsets": offsets}
    for name in ("sent_id", "height", "width"):
        kept[name] = table[name]
    return kept


def _rivals(samples: EvalSamples, rows: Sequence[Row]) -> dict[str, NDArray[np.int64]] | None:
    """The long table of all rows; None where it is not known what the images hold."""
    data = samples.data
    # A prediction may show an object that is not annotated: then nothing is said of rivals.
    if any(expression.reference.image_id not in data.everything for expression in samples.expressions):
        return None
    places, ids, intersections = long_table(rows).T
    annotations = [data.annotations[ann_id] for ann_id in ids.tolist()]
    return {
        "row": places,
        "ann_id": ids,
        "category_id": np.array([annotation.category_id for annotation in annotations], np.int64),
        "intersection": intersections,
        "area": np.array([annotation.area for annotation in annotations], np.int64),
    }


def _loader(
    samples: EvalSamples, accelerator: Accelerator, batches: list[list[int]], workers: int
) -> DataLoader[EvalBatch]:
    return DataLoader(
        samples,
        batch_size=None,
        sampler=batches,
        num_workers=workers,
        pin_memory=accelerator.device.type == "cuda",
    )


def _gather(
    counted: Iterable[list[Row]],
    before: Scored,
    predictions: "_Predictions",
    partial: PartialEvaluation | None,
    total: int,
    on_batch: OnBatch | None,
) -> list[Row]:
    """The rows that were there before, and those of each batch as it is counted; however it ends, they are kept."""
    rows = list(before.rows)
    total_iou = sum(float(iou(row[1], row[2])) for row in rows)
    # Also after an interrupt, so that the next attempt begins where this one ended.
    try:
        for batch in counted:
            rows += batch
            total_iou += sum(float(iou(row[1], row[2])) for row in batch)
            if partial is not None:
                partial.offer(rows, before.seconds + predictions.seconds)
            if on_batch is not None:
                on_batch(len(rows), total, total_iou / len(rows))
    finally:
        if partial is not None and len(rows) > len(before.rows):
            partial.save(rows, before.seconds + predictions.seconds)
    return rows


class _Predictions:
    """The probabilities of a loader's batches, batch by batch, by a segmenter in evaluation mode.

    Its `seconds` are those of launching forward passes and reading their results, without the loader and what the
    caller does.
    """

    def __init__(self, segmenter: Segmenter, accelerator: Accelerator, loader: DataLoader[EvalBatch]) -> None:
        self.seconds = 0.0
        self._segmenter = segmenter
        self._accelerator = accelerator
        self._loader = loader
        self._launched: deque[tuple[list[int], PendingTensor]] = deque()

    def __iter__(self) -> Iterator[Predicted]:
        in_flight = steps_in_flight(self._accelerator.device)
        for batch in self._loader:
            begin = time.perf_counter()
            pending = predict_pending(self._segmenter, batch.images, batch.ids, self._accelerator, batch.rows)
            self._launched.append((batch.indices, pending))
            self.seconds += time.perf_counter() - begin
            if len(self._launched) > in_flight:  # on CUDA the next batch is computed while this one is read
                yield self._read()
        while self._launched:
            yield self._read()

    def _read(self) -> Predicted:
        begin = time.perf_counter()
        indices, pending = self._launched.popleft()
        found = pending.read().numpy()
        self.seconds += time.perf_counter() - begin
        return indices, found


def _counted(batches: Iterable[Predicted], count: Count, threads: int) -> Iterator[list[Row]]:
    """The rows of each batch; with `threads`, they are counted while the device computes the next batch."""
    if threads == 0:
        for indices, probabilities in batches:
            yield [count(index, each) for index, each in zip(indices, probabilities, strict=True)]
        return
    # The rows of a batch are taken when the next one has been handed out.
    with ThreadPoolExecutor(threads) as pool:
        before: Iterator[Row] | None = None
        for batch in batches:
            rows = pool.map(count, *batch)
            if before is not None:
                yield list(before)
            before = rows
        if before is not None:
            yield list(before)
