"""The arrays of single expressions, joined over splits and seeds, and their data frames for the HTML page."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from barbench.metrics import Counts, Floats, iou
from barbench.paper.tables import Column
from barbench.reports.page import breakdown
from barbench.reports.page.breakdown import Bands
from barbench.reports.tables.grouping import Group
from barbench.results.expressions import pick_split
from barbench.results.record import Record
from barbench.results.store import Arrays

CURVE_THRESHOLDS: Final = np.linspace(0, 1, 101)


class Scored(NamedTuple):
    """The n expressions of one split or several.

    Attributes:
        seeds: IoU for each seed, (seeds, n).
        images: image ids, (n,).
        words: numbers of words, (n,).
        shares: the object's share of the image's area, (n,).
        kinds: positions in `names`, (n,); None if not recorded.
        names: of the kinds.
    """

    seeds: Floats
    images: Counts
    words: Counts
    shares: Floats
    kinds: Counts | None
    names: tuple[str, ...]


def scored(group: Group, arrays: Mapping[str, Arrays]) -> dict[Column, dict[str, Scored]]:
    """The expressions of a group, by column and label; rows without arrays are left out.

    A ValueError says that the seeds of a method did not score the same expressions.

    Args:
        group: comparable records.
        arrays: per-expression arrays by the record's id, as saved.
    """
    by_column: dict[Column, dict[str, Scored]] = {column: {} for column in group.measured}
    for row in group.rows:
        # The seeds of one method, in their order, for each evaluation split.
        seeds: dict[Column, list[Scored]] = {}
        for record in sorted(row.records, key=lambda record: record.cell.seed):
            own = arrays.get(record.id, {})
            for name, split in record.splits.items():
                if pick_split(own, name):
                    column = Column(record.dataset_of(name), split.column)
                    seeds.setdefault(column, []).append(_one(own, name, record))
        for column, parts in seeds.items():
            by_column[column][row.label] = _joined(parts)
    # Splits that no method has arrays for are not drawn.
    return {column: by_label for column, by_label in by_column.items() if by_label}


def precision_frame(by_label: Mapping[str, Scored]) -> pd.DataFrame:
    """P@X in percent at 101 thresholds.

    Args:
        by_label: expressions by method.

    Returns:
        label, x (threshold), y (mean over seeds), low, high (smallest and largest seed).
    """
    lines = []
    for label, scored in by_label.items():
        of_seeds = [breakdown.precision(seed, CURVE_THRESHOLDS) for seed in scored.seeds]
        shares = 100 * np.stack(of_seeds)  # (seeds, thresholds)
        line = {
            "label": label,
            "x": CURVE_THRESHOLDS,
            "y": shares.mean(0),
            "low": shares.min(0),
            "high": shares.max(0),
        }
        lines.append(pd.DataFrame(line))
    return pd.concat(lines, ignore_index=True)


def pooled(columns: Sequence[Mapping[str, Scored]]) -> dict[str, Scored]:
    """Join the expressions of several splits of one dataset, given by label, for the labels that have all splits."""
    joined = {}
    for label in columns[0]:
        if all(label in column for column in columns):
            joined[label] = _pool([column[label] for column in columns])
    return joined


def band_frame(by_label: Mapping[str, Scored], what: str) -> pd.DataFrame:
    """Mean IoU in bands.

    Args:
        by_label: expressions by method.
        what: words, size or kind.

    Returns:
        label, band, mean, low, high (percent), n; empty if `what` was not recorded.
    """
    rows = []
    for label, expressions in by_label.items():
        bands = _bands(expressions, what)
        if bands is not None:
            for band, found in zip(bands.labels, _intervals(expressions, bands), strict=True):
                rows.append({"label": label, "band": band, **found.iou.times(100)._asdict(), "n": found.n})
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
    pixels = np.maximum(own["height"] * own["width"], 1)
    shares = own["area"] / pixels
    ratios = iou(own["intersection"], own["union"], own.get("targets"))
    return Scored(ratios[None], own["image_id"], own["words"], shares, own.get("kind"), record.kinds)


def _joined(seeds: Sequence[Scored]) -> Scored:
    """One method's seeds over the same expressions."""
    first = seeds[0]
    with_kinds = next((seed for seed in seeds if seed.kinds is not None), first)
    return with_kinds._replace(seeds=np.concatenate([seed.seeds for seed in seeds]))


def _pool(parts: Sequence[Scored]) -> Scored:
    """Splits joined over the seeds that all have; kinds only if every split has them under the same names."""
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
