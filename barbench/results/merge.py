"""Records of several results folders in one: of runs that shared no file system. `barbench results merge` calls it."""

import glob
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from barbench.errors import DataError, UsageError
from barbench.results.record import Record
from barbench.results.store import Store

OnConflict = Literal["refuse", "keep", "replace"]
_SHOWN = 3


class Merged(NamedTuple):
    """Stems of the cells that were copied, that were the same already, and that were kept although they differ."""

    copied: list[str]
    same: list[str]
    kept: list[str]


class _Chosen(NamedTuple):
    """A record, and the folder that it is copied from."""

    store: Store
    record: Record


def merge(sources: Sequence[Path], into: Path, on_conflict: OnConflict = "refuse") -> Merged:
    """Copy the records of `sources`, with their expressions and tuned weights. Nothing in `sources` changes.

    A cell that is done comes before one that failed. Two that are done and differ are a conflict; so are two in the
    sources. `refuse` then copies nothing at all, `keep` keeps what is in `into` or came first, `replace` replaces it. A
    UsageError names the conflicts that are refused, a DataError the first file that is missing or damaged.
    """
    target = Store(into)
    merged = Merged([], [], [])
    chosen: dict[str, _Chosen] = {}
    conflicts: list[str] = []
    # Which record of each cell is copied.
    for folder in sources:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not there")
        store = Store(folder)
        for record in store.all():
            stem = record.cell.stem()
            present = chosen[stem].record if stem in chosen else target.load_to_write(record.cell)
            if present is None or _supersedes(record, present):
                chosen[stem] = _Chosen(store, record)
            elif record.status != "done" or _alike(record, present):
                merged.same.append(stem)
            elif on_conflict == "replace":
                chosen[stem] = _Chosen(store, record)
            elif on_conflict == "keep":
                merged.kept.append(stem)
            else:
                conflicts.append(stem)
        for found in store.unreadable:
            raise DataError(f"{found.path} cannot be used: {found.reason}")
    if conflicts:
        raise UsageError(_refusal(conflicts))
    # All files are read before the first is written, so that a damaged one leaves `into` as it was.
    for source in chosen.values():
        _check_files(source)
    for stem, source in chosen.items():
        _copy(source, target)
        merged.copied.append(stem)
    return merged


def _supersedes(record: Record, present: Record) -> bool:
    """Whether a record is of a finished cell, and the one that is there is not."""
    return record.status == "done" and present.status != "done"


def _alike(first: Record, second: Record) -> bool:
    """Whether two runs of one cell found the same. A group of the ledger or a score that one of them is too old to hold
    says nothing."""
    if (first.status, first.splits.keys()) != (second.status, second.splits.keys()):
        return False
    if not _equal_where_both(first.ledger, second.ledger):
        return False
    # The splits, without their scores; then both kinds of scores.
    for name, split in first.splits.items():
        other = second.splits[name]
        if split.model_dump(exclude={"scores", "control"}) != other.model_dump(exclude={"scores", "control"}):
            return False
        for ours, theirs in ((split.scores, other.scores), (split.control, other.control)):
            if ours is None or theirs is None:
                if ours is not theirs:
                    return False
            elif not _equal_where_both(ours.model_dump(), theirs.model_dump()):
                return False
    return True


def _equal_where_both(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    return all(first[name] == second[name] for name in first.keys() & second.keys())


def _refusal(conflicts: Sequence[str]) -> str:
    """The message that names the first cells that differ."""
    count = "1 cell differs" if len(conflicts) == 1 else f"{len(conflicts)} cells differ"
    shown = ", ".join(conflicts[:_SHOWN])
    if len(conflicts) > _SHOWN:
        shown += ", …"
    return f"{count} ({shown}); nothing was copied. Say --on-conflict keep or replace"


def _check_files(source: _Chosen) -> None:
    """Read the files that the record names; DataError where one is missing or not its own."""
    store, record = source
    if "expressions" in record.files:
        store.expressions(record.cell)
    if "masks" in record.files:
        store.predicted_masks(record.cell)
    if "tuned" in record.files:
        store.tuned_weights(record.cell)


def _copy(source: _Chosen, target: Store) -> None:
    """Copy a record and its files: the record last, so that it is never there without them."""
    store, record = source
    for path in _beside(store.path(record.cell)):
        target.folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target.folder / path.name)
    # What the record that is replaced had and this one has not is removed.
    for path_of in (Store.arrays, Store.masks, Store.tuned, Store.path):
        old = path_of(store, record.cell)
        new = path_of(target, record.cell)
        if old.exists():
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(old, new)
        else:
            new.unlink(missing_ok=True)


def _beside(record: Path) -> list[Path]:
    """Files that a later version has stored beside a record, under its name."""
    known = (record.name, f"{record.stem}.npz", f"{record.stem}.masks.npz")
    found = []
    for path in sorted(record.parent.glob(f"{glob.escape(record.stem)}.*")):
        if path.is_file() and path.name not in known and ".corrupt-" not in path.name:
            found.append(path)
    return found
