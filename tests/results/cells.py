"""Cells made by hand: `put_cell(store, method, **fields of the cell)` saves a record and its expressions."""

from typing import Any

import numpy as np

from barbench.results.record import Cell, DataIdentity, Record, Scores, SplitResult
from barbench.results.store import Store

TITLES = {"etris": "ETRIS", "snf": "SNF", "snf-etris": "SNF+ETRIS", "barleria": "BarLeRIa"}


def expressions(luck: int, better: float = 0.0, images: int = 12, each: int = 3, first: int = 0) -> dict[str, Any]:
    """Columns of one split; `luck` seeds them, `better` is added to the IoU of each."""
    rng = np.random.default_rng(luck)
    n = images * each
    union = rng.integers(500, 900, n)
    iou = np.clip(rng.beta(2, 2, n) + better, 0, 1)
    return {
        "intersection": (iou * union).astype(np.int64),
        "union": union,
        "control_intersection": np.where(np.arange(n) % 4, 5, -1),
        "control_union": np.where(np.arange(n) % 4, 500, -1),
        "sent_id": first + np.arange(n),
        "ref_id": np.arange(n) // each,
        "ann_id": np.arange(n) // each,
        "image_id": np.arange(n) // each,
        "words": np.full(n, 4),
        "height": np.full(n, 30),
        "width": np.full(n, 40),
        "area": np.full(n, 400),
        "kind": np.arange(n) % 2,
    }


def put_cell(
    store: Store,
    method: str,
    better: float = 0.0,
    first: int = 0,
    title: str | None = None,
    status: str = "done",
    **fields: Any,
) -> Record:
    cell = Cell.model_validate(
        {
            "method": method,
            "backbone": "tiny",
            "weights": "pretrained@1234",
            "image_size": 96,
            "dataset": "refcoco+",
            "recipe": {"name": "demo", "epochs": 2},
            "seed": 0,
            "data": DataIdentity(kind="shapes", fingerprint="f00df00df00df00d"),
        }
        | fields
    )
    scores = Scores(miou=0.5, oiou=0.5, p50=0.5, p60=0.4, p70=0.3, p80=0.2, p90=0.1, n=36)
    splits = {n: SplitResult(scores=scores, column=n, images=12, references=12) for n in ("val", "testA")}
    record = Record(
        id=cell.id(), cell=cell, title=title or TITLES[method], composition=("SNF",), ledger={"adapter": 1},
        splits=splits if status == "done" else {}, kinds=("bare", "attribute"),
        status=status, reason=None if status == "done" else "a test",
    )  # fmt: skip
    columns = {
        f"{split}/{name}": column
        for number, split in enumerate(splits)
        for name, column in expressions(cell.seed + 100 * number, better, first=first).items()
    }
    store.save(record, columns if status == "done" else None)
    saved = store.load(cell)
    assert saved is not None
    return saved
