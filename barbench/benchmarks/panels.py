"""Masks of trained cells on chosen expressions, computed again from tuned weights: `barbench panels --pick
disagree`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from barbench.benchmarks.cell_model import Trained, load_trained
from barbench.benchmarks.panel_choice import Choice
from barbench.datasets.pixels.images import decode_image
from barbench.datasets.refer import read_refer
from barbench.datasets.samples import EvalSamples
from barbench.engine.predict import predict, to_mask
from barbench.metrics import iou, overlap
from barbench.progress import OnProgress
from barbench.results.expressions import Columns
from barbench.results.qualitative import Mask, Overlay, Panel
from barbench.results.record import Record
from barbench.results.store import Store
from barbench.spec.dataset import EvaluationSplit

TOLERANCE = 0.01  # of IoU: another device or batch rounds otherwise, and a pixel of the rim falls on the other side


class MadePanels(NamedTuple):
    """Panels, and notes that a reader needs, such as on masks that differ from those of the record."""

    panels: list[Panel]
    notes: list[str]


def make_panels(store: Store, choice: Choice, device: str, progress: OnProgress) -> MadePanels:
    """Compute the masks of several cells on some expressions: one panel per expression. DataError if tuned weights or
    images cannot be used."""
    # The same rows for every cell; a row that was picked twice is computed once.
    notes = list(choice.notes)
    rows = list(dict.fromkeys(row for _, row in choice.rows))
    overlays: dict[int, list[Overlay]] = {row: [] for row in rows}
    samples: EvalSamples | None = None
    for number, (record, table) in enumerate(zip(choice.records, choice.tables, strict=True)):
        progress(number, len(choice.records))
        trained = load_trained(store, record, device, choice.request.backbone, choice.request.weights)
        if samples is None:  # the data are the same for all cells
            samples = _samples(trained, choice.root, choice.split)
        masks = _masks(trained, samples, table, rows)
        for row, mask in zip(rows, masks, strict=True):
            overlay, note = _checked(record, mask, samples, table, row)
            overlays[row].append(overlay)
            if note is not None:
                notes.append(note)
    # One panel per pick, with the overlays of all cells.
    assert samples is not None
    progress(len(choice.records), len(choice.records))

    partition = choice.split.partition
    title = f"{partition.title} {choice.split.split}"
    column = (partition.name, partition.columns[choice.split.split])
    panels = []
    for how, row in choice.rows:
        panels.append(_panel(how, samples, row, overlays[row], title)._replace(column=column))
    return MadePanels(panels, notes)


def _samples(trained: Trained, root: Path, split: EvaluationSplit) -> EvalSamples:
    data = read_refer(root, split.partition)
    return EvalSamples(data.split(split.split), trained.letterbox, trained.tokens)


def _masks(trained: Trained, samples: EvalSamples, table: Columns, rows: list[int]) -> list[Mask]:
    """The cell's mask for each of `rows`, as in its evaluation."""
    # Probabilities on the model's square, in the batches of the evaluation.
    squares: dict[int, np.ndarray] = {}
    for batch in samples.batches(sorted(rows), trained.recipe.eval_batch):
        items = samples[batch]
        found = predict(trained.segmenter, items.images, items.ids, trained.accelerator, items.rows)
        squares.update(zip(items.indices, found, strict=True))

    # Masks at the size of each image.
    threshold = trained.recipe.threshold
    none_below = samples.data.partition.none_below or 0
    masks = []
    for row in rows:
        height = int(table["height"][row])
        width = int(table["width"][row])
        masks.append(to_mask(squares[row], trained.letterbox, height, width, threshold, none_below))
    return masks


def _checked(record: Record, mask: Mask, samples: EvalSamples, table: Columns, row: int) -> tuple[Overlay, str | None]:
    """The overlay with the IoU of the mask that is shown, and a note if the record has another IoU."""
    reference = samples.expressions[row].reference
    counts = {name: column[row] for name, column in table.items()}
    targets = counts.get("targets")
    intersection, union = overlap(mask, samples.data.mask(reference.ann_id))
    shown = float(iou(intersection, union, targets))
    recorded = float(iou(counts["intersection"], counts["union"], targets))
    overlay = Overlay(record.title, mask, shown, record.id)
    if abs(shown - recorded) <= TOLERANCE:
        return overlay, None
    sentence = counts["sent_id"]
    return overlay, f"{record.title}, sentence {sentence}: IoU {shown:.3f} here, {recorded:.3f} in the record"


def _panel(how: str, samples: EvalSamples, row: int, overlays: Sequence[Overlay], title: str) -> Panel:
    reference, sentence = samples.expressions[row]
    image = decode_image(samples.data.images[reference.image_id])
    return Panel(
        name=f"sentence-{sentence.sent_id}",
        title=f"{title}, image {reference.image_id}, sentence {sentence.sent_id}",
        expression=sentence.text,
        pick=how,
        image=image,
        truth=samples.data.mask(reference.ann_id) > 0,
        overlays=tuple(overlays),
        sentence=sentence.sent_id,
    )
