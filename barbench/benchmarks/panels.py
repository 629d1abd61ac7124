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
from barbench.plain import OnProgress
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
    """Compute the masks of several cells on some expressions.

    Args:
        store: the results folder.
        choice: what to show, chosen from it.
        device: as torch names it.
        progress: called with the cells done and all cells.

    Returns:
        One panel per expression.

    Raises:
        DataError: if tuned weights or images cannot be used.
    """
    request, records, notes, split, root, tables, chosen = choice
    notes = [*notes]
    places = list(dict.fromkeys(place for _, place in chosen))
    samples: EvalSamples | None = None
    found: dict[int, list[Overlay]] = {place: [] for place in places}
    for number, (record, table) in enumerate(zip(records, tables, strict=True)):
        progress(number, len(records))
        trained = load_trained(store, record, device, request.backbone, request.weights)
        samples = samples or _samples(trained, root, split)
        for place, mask in zip(places, _masks(trained, samples, table, places), strict=True):
            overlay, note = _checked(record, mask, samples, table, place)
            found[place].append(overlay)
            notes += note
    assert samples is not None
    progress(len(records), len(records))
    title = f"{split.partition.title} {split.split}"
    return MadePanels([_panel(how, samples, place, found[place], title) for how, place in chosen], notes)


def _samples(trained: Trained, root: Path, split: EvaluationSplit) -> EvalSamples:
    found = read_refer(root, split.partition).split(split.split)
    return EvalSamples(found, trained.letterbox, trained.tokens)


def _masks(trained: Trained, samples: EvalSamples, table: Columns, places: list[int]) -> list[Mask]:
    """The cell's mask for each of `places`, as in its evaluation."""
    squares: dict[int, np.ndarray] = {}
    for batch in samples.batches(sorted(places), trained.recipe.eval_batch):
        items = samples[batch]
        found = predict(trained.segmenter, items.images, items.ids, trained.accelerator, items.rows)
        squares |= zip(items.indices, found, strict=True)
    sizes = {place: (int(table["height"][place]), int(table["width"][place])) for place in places}
    limit = trained.recipe.threshold
    none_below = samples.data.partition.none_below or 0
    return [to_mask(squares[place], trained.letterbox, *sizes[place], limit, none_below) for place in places]


def _checked(record: Record, mask: Mask, samples: EvalSamples, table: Columns, place: int) -> tuple[Overlay, list[str]]:
    """The overlay with the IoU of the mask that is shown, and a note if the record has another IoU."""
    meet, union = overlap(mask, samples.data.mask(samples.expressions[place].reference.ann_id))
    targets = table["targets"][place] if "targets" in table else None
    shown = float(iou(meet, union, targets))
    recorded = float(iou(table["intersection"][place], table["union"][place], targets))
    note = f"{record.title}, sentence {table['sent_id'][place]}: IoU {shown:.3f} here, {recorded:.3f} in the record"
    return Overlay(record.title, mask, shown), [note] if abs(shown - recorded) > TOLERANCE else []


def _panel(how: str, samples: EvalSamples, place: int, overlays: Sequence[Overlay], title: str) -> Panel:
    reference, sentence = samples.expressions[place]
    image = decode_image(samples.data.images[reference.image_id])
    return Panel(
        name=f"sentence-{sentence.sent_id}",
        title=f"{title}, image {reference.image_id}, sentence {sentence.sent_id}",
        expression=sentence.text,
        pick=how,
        image=image,
        truth=samples.data.mask(reference.ann_id) > 0,
        overlays=tuple(overlays),
    )
