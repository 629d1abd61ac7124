"""Scores stored predictions again, with sentences left out or with other masks: `barbench rescore`. No model runs.

The records are written into another folder, with the same cells; `barbench report` and `compare` read it as any other.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from barbench.datasets.corrections import Correction, NewMasks, ReviewedLabels
from barbench.datasets.pixels.masks import Rle, shared_pixels, split_codes
from barbench.datasets.refer import read_annotations
from barbench.datasets.references import ReferData
from barbench.datasets.sources import DataSource, data_root, find_source
from barbench.engine.counting import UNKNOWN
from barbench.errors import DataError, UsageError
from barbench.metrics import summarize, summarize_columns
from barbench.results.expressions import join_rivals, join_splits, masks_of, pick_split, rivals_of, stored_columns
from barbench.results.record import Record, Rescored, SplitResult
from barbench.results.store import Store
from barbench.spec.dataset import EvaluationSplit, resolve_dataset

Arrays = dict[str, NDArray[Any]]
_SHOWN: Final = 5


class RescoredFolder(NamedTuple):
    """What was written: records, and notes for people."""

    records: list[Record]
    notes: list[str]


def rescore(
    store: Store,
    out: Store,
    source: ReviewedLabels | NewMasks,
    data: str | None,
    allow_unmatched: bool = False,
) -> RescoredFolder:
    """Score the predictions of every finished record again.

    Args:
        data: as for `find_source`; references and annotations are read, images are not.
        allow_unmatched: leave sentences out of which it is not known whether they are right, instead of refusing them.

    Returns:
        The records that were written. Splits without corrections are not in them.

    Raises:
        UsageError: where both folders are one, where something is unmatched, or where nothing can be scored again.
        DataError: where counts or masks are missing, or the data are not those of the records.
    """
    if store.folder.resolve() == out.folder.resolve():
        raise UsageError(f"--out {out.folder} is the folder of the records: choose another, so that both stay")
    corrections = _Corrections(source, data)
    written = []
    for record in store.all():
        if record.status != "done":
            continue
        chosen = corrections.of(record)
        if not chosen:
            continue
        # What cannot be matched is refused, unless the user leaves it out.
        unmatched = [line for correction in chosen.values() for line in correction.unmatched]
        if unmatched and not allow_unmatched:
            more = f" and {len(unmatched) - _SHOWN} more" if len(unmatched) > _SHOWN else ""
            raise UsageError(
                f"{len(unmatched):,} sentences or labels cannot be matched: "
                f"{'; '.join(unmatched[:_SHOWN])}{more}. --allow-unmatched leaves these sentences out"
            )
        new, arrays = _again(store, record, chosen, source)
        out.save(new, arrays)
        written.append(new)
    if not written:
        raise UsageError(f"no finished record of {store.folder} has a split that {source.name} is about")
    return RescoredFolder(written, corrections.notes)


class _Corrections:
    """The corrections of records; what several records share is looked for, hashed and read once."""

    def __init__(self, source: ReviewedLabels | NewMasks, data: str | None) -> None:
        self.notes: list[str] = []
        self._source = source
        self._data = data
        self._places: dict[tuple[str, str], DataSource] = {}
        self._read: dict[str, ReferData] = {}
        self._known: dict[tuple[str, str, str], Correction | None] = {}

    def of(self, record: Record) -> dict[str, Correction]:
        """Those of a record's splits, by their keys; DataError where the data are not the record's."""
        cell = record.cell
        dataset = resolve_dataset(cell.dataset, data_root(self._data), exif=cell.exif)
        # Data that several records share are looked for and hashed once.
        named = (cell.dataset, cell.exif)
        if named not in self._places:
            self._places[named] = find_source(self._data, dataset)
        place = self._places[named]
        if place.fingerprint != cell.data.fingerprint:
            raise DataError(
                f"{place.root} is not what {cell.stem()} was scored on: its files hash to {place.fingerprint}, the "
                f"record says {cell.data.fingerprint}"
            )
        # Splits that the source has nothing about are left out.
        found = {}
        for split in dataset.evaluation_splits:
            if split.key not in record.splits:
                continue
            correction = self._of_split(place, split)
            if correction is not None:
                found[split.key] = correction
        return found

    def _of_split(self, place: DataSource, split: EvaluationSplit) -> Correction | None:
        name = split.partition.name
        key = (place.fingerprint, name, split.split)
        if key in self._known:
            return self._known[key]
        # Annotations are read once for all splits of a partition.
        if name not in self._read:
            self._read[name] = read_annotations(place.root, split.partition)
        correction = self._source.of(split.partition, split.split, self._read[name])
        self._known[key] = correction
        if correction is not None:
            self.notes += correction.notes
            if correction.unmatched:
                self.notes.append(f"{split.key}: {len(correction.unmatched):,} unmatched")
        return correction


def _again(
    store: Store, record: Record, chosen: Mapping[str, Correction], source: ReviewedLabels | NewMasks
) -> tuple[Record, Arrays]:
    """The record with other scores, and the arrays of the expressions that count."""
    saved = store.expressions(record.cell)
    drawn = store.predicted_masks(record.cell) if source.kind == "masks" else {}
    splits: dict[str, SplitResult] = {}
    by_split: dict[str, Arrays] = {}
    rivals = {}
    expressions = {}
    for key, correction in chosen.items():
        columns = stored_columns(saved, key)
        if not columns:
            raise DataError(f"{store.arrays(record.cell)} lacks the expressions of {key}")
        expressions[key] = len(columns["sent_id"])
        # The rows that count; with other masks also their counts.
        kept = np.array([sent_id in correction.kept for sent_id in columns["sent_id"].tolist()], bool)
        if not kept.any():
            raise DataError(f"no expression of {record.cell.stem()} on {key} is in {source.name}")
        if source.kind == "masks":
            columns = _with_masks(columns, masks_of(drawn, key), correction.kept, kept)
        by_split[key] = {name: column[kept] for name, column in columns.items()}
        # The long table has the rows' places, which move.
        long = rivals_of(saved, key)
        if long:
            rivals[key] = _kept_rivals(long, kept)
        picked = pick_split(join_splits(by_split) | join_rivals(rivals), key)
        splits[key] = _split_result(record.splits[key], picked)
    # Where the corrections are from, for the record.
    files = {name: digest for correction in chosen.values() for name, digest in correction.files.items()}
    fields = Rescored(
        source=record.id,
        kind=source.kind,
        name=source.name,
        revision=source.revision(files.values()),
        files=files,
        expressions=expressions,
        unmatched={key: len(correction.unmatched) for key, correction in chosen.items()},
    )
    arrays = join_splits(by_split) | join_rivals(rivals)
    return record.model_copy(update={"splits": splits, "rescored": fields, "files": {}}), arrays


def _with_masks(columns: Arrays, drawn: Arrays, new: Mapping[int, Rle | None], kept: NDArray[np.bool_]) -> Arrays:
    """The columns with the counts of the new masks in the rows that count; the control, which has an old mask, is left
    out."""
    if not drawn or not np.array_equal(drawn["sent_id"], columns["sent_id"]):
        raise DataError("the stored masks are not of the record's expressions")
    # Predictions are stored as run lengths, and are compared with the new mask as such.
    codes = split_codes(drawn["counts"], drawn["offsets"])
    changed = {name: column.copy() for name, column in columns.items()}
    for row in np.flatnonzero(kept).tolist():
        target = new[int(columns["sent_id"][row])]
        if target is None:
            continue
        predicted = Rle(int(drawn["height"][row]), int(drawn["width"][row]), codes[row])
        if (predicted.height, predicted.width) != (target.height, target.width):
            raise DataError(
                f"the mask of sentence {columns['sent_id'][row]} has {predicted.height} x {predicted.width} pixels, "
                f"the new one {target.height} x {target.width}"
            )
        area = target.area
        shared = shared_pixels(predicted, target)
        changed["intersection"][row] = shared
        changed["union"][row] = predicted.area + area - shared
        changed["area"][row] = area
    for name in ("control_intersection", "control_union"):
        changed[name] = np.full_like(changed[name], UNKNOWN)
    return changed


def _kept_rivals(long: Mapping[str, NDArray[np.int64]], kept: NDArray[np.bool_]) -> dict[str, NDArray[np.int64]]:
    """The rivals of the rows that count, by their new places."""
    places = np.cumsum(kept) - 1
    chosen = kept[long["row"]]
    found = {name: column[chosen] for name, column in long.items()}
    found["row"] = places[found["row"]]
    return found


def _split_result(before: SplitResult, columns: Arrays) -> SplitResult:
    """The scores of what is left of a split."""
    # With other masks the control is not known.
    has_control = columns["control_union"] >= 0
    control = None
    if has_control.any():
        control = summarize(columns["control_intersection"][has_control], columns["control_union"][has_control])
    changes = {
        "scores": summarize_columns(columns),
        "control": control,
        "images": len(np.unique(columns["image_id"])),
        "references": len(np.unique(columns["ref_id"])),
    }
    return before.model_copy(update=changes)
