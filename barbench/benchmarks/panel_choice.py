"""Which cells and which expressions panels show; checked before torch is imported. Used by `barbench panels`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BeforeValidator, Field

from barbench.benchmarks.matrix import identify_backbone, identify_weights
from barbench.datasets.sources import data_root, find_source
from barbench.errors import UnknownName, UsageError
from barbench.methods.resolve import resolve
from barbench.metrics import iou
from barbench.paper.tables import FULL, HEAD_ONLY
from barbench.results.expressions import Columns, aligned
from barbench.results.qualitative import PICKS, pick
from barbench.results.record import Cell, Record
from barbench.results.select import runs
from barbench.results.store import Store
from barbench.spec.dataset import Dataset, EvaluationSplit, resolve_dataset
from barbench.spec.run import Names, Parameters
from barbench.spec.text import whole_numbers

CHOSEN = "chosen"  # the pick of sentences that were named one by one


def _sentences(value: Any) -> Any:
    return tuple(whole_numbers(value, "--sent")) if isinstance(value, str) else value


class PanelRequest(Parameters):
    """The arguments of `barbench panels`."""

    methods: Names = ("all",)
    dataset: str = Field(default="refcoco+", description="that the cells were trained on")
    eval_split: str | None = Field(default=None, description="whose expressions are shown; None for the first")
    picks: Names = Field(default=(), description="keys of PICKS")
    count: int = Field(default=8, description="of expressions per pick")
    sentences: Annotated[tuple[int, ...], BeforeValidator(_sentences)] = Field(
        default=(), description="ids to show instead of picks"
    )
    seed: int | None = Field(default=None, description="of the runs; None for the smallest that all methods have")
    backbone: str | None = Field(default=None, description="of the cells, as all that follows")
    weights: str | None = None
    recipe: str | None = None
    image_size: str | None = None
    neck: str | None = None
    head: str | None = None
    data: str | None = Field(default=None, description="as for `find_source`")


class Choice(NamedTuple):
    """What panels will show.

    Attributes:
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

    Raises:
        UnknownName: for an unknown pick, split or cell.
        UsageError: if the cells share no seed, or if a sentence is not there.
        DataError: if arrays cannot be used.
    """
    for how in request.picks:
        if how not in PICKS:
            raise UnknownName("pick", how, PICKS)
    # The cells, then the split that they share, then its rows.
    records, notes = _choose(store, request)
    cell = records[0].cell
    dataset = resolve_dataset(cell.dataset, data_root(request.data), cell.context_length, cell.exif)
    splits = {split.key: split for split in dataset.evaluation_splits}
    key = request.eval_split or next(iter(splits))
    if key not in splits:
        raise UnknownName("evaluation split", key, splits)
    tables = aligned(store, records, key)
    root = scored_root(cell, dataset, request.data)
    return Choice(request, records, notes, splits[key], root, tables, _wanted(request, records, tables, key))


def scored_root(cell: Cell, dataset: Dataset, data: str | None) -> Path:
    """The folder of the cell's data; UsageError if `data` are not those that it was scored on."""
    source = find_source(data, dataset)
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
    names, notes = _names(store, request, done)
    wanted = _wanted_of_cells(request)

    # The finished cells of each method, by seed.
    by_seed = []
    for name in names:
        by_seed.append({record.cell.seed: record for record in runs(records, name, wanted)})
    if not by_seed:
        raise UsageError("no method was named; try --methods all")

    # A seed that all methods have.
    shared = set.intersection(*(set(each) for each in by_seed))
    if request.seed is not None:
        shared &= {request.seed}
    if not shared:
        seeds = [f"{name}: {', '.join(map(str, each))}" for name, each in zip(names, by_seed, strict=True)]
        raise UsageError(
            f"the methods have no such seed in common ({'; '.join(seeds)}); leave a method out, or choose a seed with "
            "--seed"
        )
    chosen = [each[min(shared)] for each in by_seed]
    if len({record.cell.precision for record in chosen}) > 1:
        raise UsageError("the cells were trained in different precisions; make their panels one precision at a time")
    return chosen, notes


def _names(store: Store, request: PanelRequest, done: set[str]) -> tuple[list[str], list[str]]:
    """The methods whose masks are shown, and a note on those of `all` that are not finished."""
    if request.methods != ("all",):
        return list(request.methods), []
    names = []
    missing = []
    for spec in resolve("all"):
        if spec.reference in done:
            names.append(spec.reference)
        else:
            missing.append(spec.title)
    if not names:
        raise UsageError(f"no finished cell of the paper's methods in {store.folder}: `barbench run` makes them")
    return names, [f"without {', '.join(missing)}: no finished cell"] if missing else []


def _wanted_of_cells(request: PanelRequest) -> dict[str, str | None]:
    """What a cell must have to be shown."""
    # A cell has the hash of a file, which the user names by its path.
    backbone = request.backbone
    weights = request.weights
    if backbone is not None and weights is not None:
        weights = identify_weights(backbone, weights)[0]
    return {
        "dataset": request.dataset,
        "backbone": None if backbone is None else identify_backbone(backbone),
        "weights": weights,
        "recipe": request.recipe,
        "image_size": request.image_size,
        "neck": request.neck,
        "head": request.head,
    }


def _wanted(
    request: PanelRequest, records: Sequence[Record], tables: Sequence[Columns], key: str
) -> list[tuple[str, int]]:
    """(pick, row): why and which rows of the arrays are shown."""
    sentences = tables[0]["sent_id"].tolist()
    if request.sentences:
        unknown = set(request.sentences) - set(sentences)
        if unknown:
            raise UsageError(f"{key} has no sentence {', '.join(map(str, sorted(unknown)))}")
        return [(CHOSEN, sentences.index(sentence)) for sentence in request.sentences]

    # The IoU of each cell on each expression, (cells, expressions).
    of_cells = []
    for table in tables:
        of_cells.append(iou(table["intersection"], table["union"], table.get("targets")))
    scores = np.stack(of_cells)
    images = tables[0]["image_id"]
    # Tuning nothing and tuning everything disagree with all others, which says nothing of these.
    ends = np.array([record.cell.method in (HEAD_ONLY, FULL) for record in records])
    found = []
    for how in request.picks:
        shown = scores
        if how == "disagree" and (~ends).sum() > 1:
            shown = scores[~ends]
        found += [(how, row) for row in pick(how, shown, images, request.count)]
    return found
