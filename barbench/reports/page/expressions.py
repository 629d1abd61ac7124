"""The arrays of single expressions, joined over splits and seeds, and the data frames of them for the HTML page."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from barbench.metrics import iou
from barbench.paper.tables import Column
from barbench.reports.page import breakdown
from barbench.reports.page.breakdown import Bands, Floats, Ints
from barbench.reports.tables.grouping import Group
from barbench.results.expressions import pick_split
from barbench.results.record import Record

CURVE_THRESHOLDS: Final = np.linspace(0, 1, 101)

Arrays = Mapping[str, NDArray[Any]]


class Scored(NamedTuple):
    """The expressions of one split or several, (n,) each: `seeds` holds their IoU for each seed, (seeds, n); `images`,
    `words`, `shares` (of the image's area) and, where recorded, `kinds` with the `names` that they stand for."""

    seeds: Floats
    images: Ints
    words: Ints
    shares: Floats
    kinds: Ints | None
    names: tuple[str, ...]


def scored(group: Group, arrays: Mapping[str, Arrays]) -> dict[Column, dict[str, Scored]]:
    """Column -> label -> expressions, from the arrays of each record by its id; what has no arrays is not there.

    Raises ValueError where the seeds of a method do not hold the same expressions.
    """
    found: dict[Column, dict[str, Scored]] = {column: {} for column in group.measured}
    for row in group.rows:
        members: dict[Column, list[tuple[Record, str]]] = {}
        for record in sorted(row.records, key=lambda record: record.cell.seed):
            for name, split in record.splits.items():
                if pick_split(arrays.get(record.id, {}), name):
                    members.setdefault(Column(record.protocol_of(name), split.column), []).append((record, name))
        for column, parts in members.items():
            found[column][row.label] = _joined([_one(arrays[record.id], name, record) for record, name in parts])
    return {column: by_label for column, by_label in found.items() if by_label}


def precision_frame(by_label: Mapping[str, Scored]) -> pd.DataFrame:
    """label, x (threshold), y, low, high: P@X in percent, mean and ends over seeds."""
    lines = []
    for label, scored in by_label.items():
        shares = 100 * np.stack([breakdown.precision(seed, CURVE_THRESHOLDS) for seed in scored.seeds])
        ends = {"y": shares.mean(0), "low": shares.min(0), "high": shares.max(0)}
        lines.append(pd.DataFrame({"label": label, "x": CURVE_THRESHOLDS, **ends}))
    return pd.concat(lines, ignore_index=True)


def pooled(columns: Sequence[Mapping[str, Scored]]) -> dict[str, Scored]:
    """The expressions of several splits of one protocol together, for the labels that have all of them."""
    labels = [label for label in columns[0] if all(label in column for column in columns)]
    return {label: _pool([column[label] for column in columns]) for label in labels}


def band_frame(by_label: Mapping[str, Scored], what: str) -> pd.DataFrame:
    """label, band, mean, low, high (percent), n; `what` is words, size or kind. Empty where it was not recorded."""
    rows = []
    for label, expressions in by_label.items():
        bands = _bands(expressions, what)
        if bands is not None:
            for band, found in zip(bands.labels, _intervals(expressions, bands), strict=True):
                low, high = 100 * found.low, 100 * found.high
                rows.append(
                    {"label": label, "band": band, "mean": 100 * found.mean, "low": low, "high": high, "n": found.n}
                )
    return pd.DataFrame(rows, columns=["label", "band", "mean", "low", "high", "n"])


def _intervals(expressions: Scored, bands: Bands) -> list[breakdown.BandScore]:
    return breakdown.means(expressions.seeds.mean(0), bands, expressions.images)


def _bands(expressions: Scored, what: str) -> Bands | None:
    if what == "words":
        return breakdown.by_words(expressions.words)
    if what == "size":
        return breakdown.by_size(expressions.shares)
    if expressions.kinds is None or not expressions.names:
        return None
    return breakdown.by_kind(expressions.kinds, expressions.names)


def _one(arrays: Arrays, split: str, record: Record) -> Scored:
    own = pick_split(arrays, split)
    shares = own["area"] / np.maximum(own["height"] * own["width"], 1)
    ratios = iou(own["intersection"], own["union"])
    return Scored(ratios[None], own["image_id"], own["words"], shares, own.get("kind"), record.kinds)


def _joined(seeds: Sequence[Scored]) -> Scored:
    """One method's seeds over the same expressions."""
    first = seeds[0]
    if not all(np.array_equal(seed.images, first.images) and np.array_equal(seed.words, first.words) for seed in seeds):
        raise ValueError("the seeds of one method were not scored on the same expressions")
    with_kinds = next((seed for seed in seeds if seed.kinds is not None), first)
    return with_kinds._replace(seeds=np.concatenate([seed.seeds for seed in seeds]))


def _pool(parts: Sequence[Scored]) -> Scored:
    """Splits joined over the seeds that all have; kinds only where every split has them under the same names."""
    count = min(len(part.seeds) for part in parts)
    kinds = [part.kinds for part in parts if part.kinds is not None]
    known = len(kinds) == len(parts) and len({part.names for part in parts}) == 1
    return Scored(
        np.concatenate([part.seeds[:count] for part in parts], axis=1),
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.words for part in parts]),
        np.concatenate([part.shares for part in parts]),
        np.concatenate(kinds) if known else None,
        parts[0].names if known else (),
    )
