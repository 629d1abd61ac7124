"""Which cells and which expressions panels show; checked before torch is imported. Used by `barbench panels`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from barbench.benchmarks.matrix import identify_backbone, identify_weights
from barbench.datasets.sources import data_root, find_source
from barbench.errors import UnknownName, UsageError
from barbench.methods.resolve import resolve
from barbench.metrics import iou
from barbench.results.expressions import Columns, aligned
from barbench.results.qualitative import PICKS, pick
from barbench.results.record import Cell, Record
from barbench.results.select import runs
from barbench.results.store import Store
from barbench.spec.dataset import Dataset, EvaluationSplit, resolve_dataset
from barbench.spec.text import split_list

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


class Choice(NamedTuple):
    """What panels will show.

    Attributes:
        request: as it was given.
        records: one per method.
        notes: what a reader needs to know.
        split: whose expressions they are.
        root: of the data.
        tables: columns of the expressions, one table per record.
        rows: (pick, row): why and which rows of the tables are shown.
    """

    request: PanelRequest
    records: list[Record]
    notes: list[str]
    split: EvaluationSplit
    root: Path
    tables: Sequence[Columns]
    rows: list[tuple[str, int]]


def choose(store: Store, request: PanelRequest) -> Choice:
    """Choose cells and expressions.

    Args:
        store: the results folder.
        request: what to show.

    Returns:
        Records and rows.

    Raises:
        UnknownName: for an unknown pick, split or cell.
        UsageError: if the cells share no seed, or if a sentence is not there.
        DataError: if arrays cannot be used.
    """
    for how in request.picks:
        if how not in PICKS:
            raise UnknownName("pick", how, PICKS)
    records, notes = _choose(store, request)
    splits = {split.key: split for split in _task(records[0].cell, request.data).evaluation_splits}
    key = request.eval_split or next(iter(splits))
    if key not in splits:
        raise UnknownName("evaluation split", key, splits)
    tables = aligned(store, records, key)
    root = _root(records[0].cell, request.data)
    return Choice(request, records, notes, splits[key], root, tables, _wanted(request, tables, key))


def _task(cell: Cell, data: str | None) -> Dataset:
    return resolve_dataset(cell.protocol, data_root(data), cell.context_length, cell.exif)


def _root(cell: Cell, data: str | None) -> Path:
    """The folder of the cell's data; UsageError if `data` are not those that it was scored on."""
    source = find_source(data, _task(cell, data))
    if source.fingerprint != cell.data.fingerprint:
        raise UsageError(
            f"{cell.stem()} was scored on {cell.data.kind} data {cell.data.fingerprint[:12]}, not on {source.kind} "
            f"data {source.fingerprint[:12]}: say where its data are with --data ROOT"
        )
    return source.root


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
