"""The arrays of single expressions, joined over splits and seeds, and their data frames for the HTML page."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from barbench.metrics import Columns, Counts, Floats, iou
from barbench.paper.tables import Column
from barbench.reports.page import breakdown
from barbench.reports.page.breakdown import Bands
from barbench.reports.tables.grouping import Group
from barbench.reports.tables.significance import runs_of
from barbench.results.record import Record
from barbench.results.resampled import ResampledScores

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


def scored(group: Group, evidence: ResampledScores) -> dict[Column, dict[str, Scored]]:
    """The expressions of a group, by column and label, without those of records without arrays.

    A ValueError says that the seeds of a method did not score the same expressions.
    """
    by_column: dict[Column, dict[str, Scored]] = {}
    for column in group.measured:
        by_label = {}
        for row in group.rows:
            seeds = []
            for _, run in sorted(runs_of(row, column).items()):
                counts = evidence.counts(run)
                if counts is not None:
                    seeds.append(_one(counts, run.record))
            if seeds:
                by_label[row.label] = _joined(seeds)
        # Splits that no method has arrays for are not drawn.
        if by_label:
            by_column[column] = by_label
    return by_column


def precision_frame(by_label: Mapping[str, Scored]) -> pd.DataFrame:
    """P@X in percent at 101 thresholds: label, x (threshold), y (mean over seeds), low, high (smallest and largest
    seed)."""
    lines = []
    for label, scored in by_label.items():
        of_seeds = [breakdown.precision(seed, CURVE_THRESHOLDS) for seed in scored.seeds]
        shares = 100 * np.stack(of_seeds)  # (seeds, thresholds)
        line = pd.DataFrame({"x": CURVE_THRESHOLDS, "y": shares.mean(0), "low": shares.min(0), "high": shares.max(0)})
        lines.append(line.assign(label=label))
    return pd.concat(lines, ignore_index=True)


def pooled(columns: Sequence[Mapping[str, Scored]]) -> dict[str, Scored]:
    """Join the expressions of several splits of one dataset, given by label, for the labels that have all splits."""
    joined = {}
    for label in columns[0]:
        if all(label in column for column in columns):
            joined[label] = _pool([column[label] for column in columns])
    return joined


def band_frame(by_label: Mapping[str, Scored], what: str) -> pd.DataFrame:
    """Mean IoU in bands of `what`, words, size or kind: label, band, mean, low, high (percent), n; empty if it was not
    recorded."""
    rows = []
    for label, expressions in by_label.items():
        bands = _bands(expressions, what)
        if bands is None:
            continue
        means = breakdown.means(expressions.seeds.mean(0), bands, expressions.images)
        for band, found in zip(bands.labels, means, strict=True):
            rows.append((label, band, *found.iou.times(100), found.n))
    return pd.DataFrame(rows, columns=["label", "band", "mean", "low", "high", "n"])


def _bands(expressions: Scored, what: str) -> Bands | None:
    if what == "words":
        return breakdown.by_words(expressions.words)
    if what == "size":
        return breakdown.by_size(expressions.shares)
    if expressions.kinds is None or not expressions.names:
        return None
    return breakdown.by_kind(expressions.kinds, expressions.names)


def _one(counts: Columns, record: Record) -> Scored:
    """One run; `counts` are its columns."""
    ratios = iou(counts["intersection"], counts["union"], counts.get("targets"))
    pixels = np.maximum(counts["height"] * counts["width"], 1)
    return Scored(
        seeds=ratios[None],
        images=counts["image_id"],
        words=counts["words"],
        shares=counts["area"] / pixels,
        kinds=counts.get("kind"),
        names=record.kinds,
    )


def _joined(seeds: Sequence[Scored]) -> Scored:
    """One method's seeds over the same expressions."""
    ratios = np.concatenate([seed.seeds for seed in seeds])
    with_kinds = [seed for seed in seeds if seed.kinds is not None]
    described = with_kinds[0] if with_kinds else seeds[0]
    return described._replace(seeds=ratios)


def _pool(parts: Sequence[Scored]) -> Scored:
    """Splits joined over the seeds that all have; kinds only if every split has them under the same names."""
    # An array over several splits has one row for each seed.
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
