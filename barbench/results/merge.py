"""Records of several results folders in one: of runs that shared no file system. `barbench results merge` calls it."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from barbench.errors import DataError, UsageError
from barbench.results.record import Record
from barbench.results.store import Store

OnConflict = Literal["refuse", "keep", "replace"]


class Merged(NamedTuple):
    """Stems of the cells that were copied, that were the same already, and that were kept although they differ."""

    copied: list[str]
    same: list[str]
    kept: list[str]


def merge(sources: Sequence[Path], into: Path, on_conflict: OnConflict = "refuse") -> Merged:
    """Copy the records of `sources`, with their expressions and tuned weights. Nothing in `sources` changes.

    A cell that is done comes before one that failed. Two that are done and differ are a conflict; so are two in the
    sources.

    Args:
        sources: results folders.
        into: results folder, made if need be.
        on_conflict: `refuse` copies nothing at all; `keep` what is in `into`, or came first; `replace` it.

    Returns:
        What was done.

    Raises:
        UsageError: for a folder that is not there, and for conflicts that are refused.
        DataError: where a file of a record is missing or not its own.
    """
    target = Store(into)
    chosen: dict[str, tuple[Store, Record]] = {}
    merged, conflicts = Merged([], [], []), list[str]()
    for folder in sources:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not there")
        store = Store(folder)
        for record in store.all():
            stem = record.cell.stem()
            there = chosen[stem][1] if stem in chosen else target.load(record.cell)
            if there is None or (record.status == "done") > (there.status == "done"):
                chosen[stem] = (store, record)
            elif record.status != "done" or _measured(record) == _measured(there):
                merged.same.append(stem)
            elif on_conflict == "replace":
                chosen[stem] = (store, record)
            else:
                (conflicts if on_conflict == "refuse" else merged.kept).append(stem)
        if store.set_aside:
            raise DataError(f"{store.set_aside[0].path} cannot be used: {store.set_aside[0].reason}")
    if conflicts:
        count = "1 cell differs" if len(conflicts) == 1 else f"{len(conflicts)} cells differ"
        shown = ", ".join(conflicts[:3]) + ", …" * (len(conflicts) > 3)
        raise UsageError(f"{count} ({shown}); nothing was copied. Say --on-conflict keep or replace")
    for store, record in chosen.values():
        _check(store, record)
    for stem, (store, record) in chosen.items():
        _copy(store, target, record)
        merged.copied.append(stem)
    return merged


def _measured(record: Record) -> dict[str, object]:
    """What two runs of one cell share where they found the same."""
    return record.model_dump(include={"status", "splits", "ledger"})


def _check(store: Store, record: Record) -> None:
    if "expressions" in record.files:
        store.expressions(record.cell)
    if "tuned" in record.files:
        store.tuned_weights(record.cell)


def _copy(store: Store, target: Store, record: Record) -> None:
    """The record last, so that it is never there without its files."""
    for place in (Store.arrays, Store.tuned, Store.path):
        old, new = place(store, record.cell), place(target, record.cell)
        if old.exists():
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(old, new)
        else:
            new.unlink(missing_ok=True)
