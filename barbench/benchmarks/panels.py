"""Masks of trained cells on chosen expressions, computed again from tuned weights: `barbench panels --pick
disagree`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from barbench.benchmarks.cell_model import Trained, load_trained
from barbench.benchmarks.matrix import identify_backbone, identify_weights
from barbench.datasets.images import decode_image
from barbench.datasets.own import find_task
from barbench.datasets.refer import read_refer
from barbench.datasets.samples import EvalSamples
from barbench.datasets.sources import data_root, find_source
from barbench.engine.predict import predict, to_mask
from barbench.errors import UnknownName, UsageError
from barbench.methods.resolve import resolve
from barbench.metrics import iou, overlap
from barbench.paper.mixtures import Task
from barbench.paper.protocols import Evaluated
from barbench.plain import OnProgress
from barbench.registry import split_list
from barbench.results.expressions import Columns, aligned
from barbench.results.qualitative import PICKS, Mask, Overlay, Panel, pick
from barbench.results.record import Cell, Record
from barbench.results.select import runs
from barbench.results.store import Store

TOLERANCE = 0.01  # of IoU: another device or batch rounds otherwise, and a pixel of the rim falls on the other side
CHOSEN = "chosen"  # the pick of sentences that were named one by one


class PanelRequest(NamedTuple):
    """The arguments of `barbench panels` as given.

    Attributes:
        methods: comma list, or `all`.
        split: what the cells were trained on.
        eval_split: whose expressions are shown; None for the first.
        picks: keys of PICKS.
        each: number of expressions per pick.
        sentences: ids to show instead of picks.
        seed: of the runs; None for the smallest that all methods have.
        backbone: of the cells.
        weights: of the cells.
        recipe: of the cells.
        image_size: of the cells.
        data: as for `find_source`.
        device: as torch names it.
    """

    methods: str
    split: str
    eval_split: str | None
    picks: Sequence[str]
    each: int
    sentences: Sequence[int]
    seed: int | None
    backbone: str | None
    weights: str | None
    recipe: str | None
    image_size: str | None
    data: str | None
    device: str


class MadePanels(NamedTuple):
    """Panels, and notes that a reader needs, such as on masks that differ from those of the record."""

    panels: list[Panel]
    notes: list[str]


def make_panels(store: Store, request: PanelRequest, progress: OnProgress) -> MadePanels:
    """Compute the masks of several cells on some expressions.

    Args:
        store: the results folder.
        request: what to show.
        progress: called with the cells done and all cells.

    Returns:
        One panel per expression.

    Raises:
        UnknownName: for an unknown pick, split or cell.
        UsageError: if the cells share no seed, or if sentences or data are not there.
        DataError: if tuned weights, arrays or images cannot be used.
    """
    for how in request.picks:
        if how not in PICKS:
            raise UnknownName("pick", how, PICKS)
    records, notes = _choose(store, request)
    splits = {split.key: split for split in _task(records[0].cell, request.data).evaluated}
    key = request.eval_split or next(iter(splits))
    if key not in splits:
        raise UnknownName("evaluation split", key, splits)
    tables = aligned(store, records, key)
    chosen = _wanted(request, tables, key)
    places = list(dict.fromkeys(place for _, place in chosen))
    samples: EvalSamples | None = None
    found: dict[int, list[Overlay]] = {place: [] for place in places}
    for number, (record, table) in enumerate(zip(records, tables, strict=True)):
        progress(number, len(records))
        trained = load_trained(store, record, request.device, request.backbone, request.weights)
        samples = samples or _samples(trained, request.data, splits[key])
        for place, mask in zip(places, _masks(trained, samples, table, places), strict=True):
            overlay, note = _checked(record, mask, samples, table, place)
            found[place].append(overlay)
            notes += note
    assert samples is not None
    progress(len(records), len(records))
    title = f"{splits[key].protocol.title} {splits[key].split}"
    return MadePanels([_panel(how, samples, place, found[place], title) for how, place in chosen], notes)


def _choose(store: Store, request: PanelRequest) -> tuple[list[Record], list[str]]:
    """One record per method, all of one seed: the smallest that all have, unless one is asked for."""
    records = store.all()
    done = {record.cell.method for record in records if record.status == "done"}
    if request.methods == "all":
        names = [spec.reference for spec in resolve("all") if spec.reference in done]
        if not names:
            raise UsageError(f"no finished cell of the paper's methods in {store.folder}: `barbench run` makes them")
    else:
        names = split_list(request.methods)
    backbone, weights = request.backbone, request.weights
    wanted = {
        "protocol": request.split,
        "backbone": identify_backbone(backbone) if backbone else None,
        "weights": identify_weights(backbone, weights)[0] if backbone and weights else weights,
        "recipe": request.recipe,
        "image_size": request.image_size,
    }
    of_method = [{record.cell.seed: record for record in runs(records, name, wanted)} for name in names]
    if not of_method:
        raise UsageError("no method was named; try --methods all")
    shared = set.intersection(*(set(each) for each in of_method))
    if request.seed is not None:
        shared &= {request.seed}
    if not shared:
        seeds = "; ".join(f"{name}: {', '.join(map(str, each))}" for name, each in zip(names, of_method, strict=True))
        raise UsageError(
            f"the methods have no such seed in common ({seeds}); leave a method out, or choose a seed with --seed"
        )
    chosen = [each[min(shared)] for each in of_method]
    if len({record.cell.precision for record in chosen}) > 1:
        raise UsageError("the cells were trained in different precisions; make their panels one precision at a time")
    missing = [spec.title for spec in resolve("all") if spec.reference not in done] if request.methods == "all" else []
    return chosen, [f"without {', '.join(missing)}: no finished cell"] if missing else []


def _wanted(request: PanelRequest, tables: Sequence[Columns], key: str) -> list[tuple[str, int]]:
    """(pick, row): why and which rows of the arrays are shown."""
    sentences = tables[0]["sent_id"].tolist()
    if request.sentences:
        if unknown := set(request.sentences) - set(sentences):
            raise UsageError(f"{key} has no sentence {', '.join(map(str, sorted(unknown)))}")
        return [(CHOSEN, sentences.index(sentence)) for sentence in request.sentences]
    counts = [(table["intersection"], table["union"], table.get("targets")) for table in tables]
    scores, images = np.stack([iou(*each) for each in counts]), tables[0]["image_id"]
    return [(how, place) for how in request.picks for place in pick(how, scores, images, request.each)]


def _task(cell: Cell, data: str | None) -> Task:
    return find_task(cell.protocol, data_root(data), cell.context_length, cell.exif)


def _samples(trained: Trained, data: str | None, split: Evaluated) -> EvalSamples:
    """The expressions of `split`; UsageError if the data are not those that the cell was scored on."""
    cell = trained.record.cell
    source = find_source(data, _task(cell, data))
    if source.fingerprint != cell.data.fingerprint:
        raise UsageError(
            f"{cell.stem()} was scored on {cell.data.kind} data {cell.data.fingerprint[:12]}, not on {source.kind} "
            f"data {source.fingerprint[:12]}: say where its data are with --data ROOT"
        )
    found = read_refer(source.root, split.protocol).split(split.split)
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
    none_below = samples.data.protocol.none_below or 0
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
