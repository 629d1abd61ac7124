"""The records that a command reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from barbench.listing import print_notes

if TYPE_CHECKING:
    from barbench.benchmarks.scenes import SceneFinder
    from barbench.results.store import Store


@contextmanager
def open_store(folder: Path, find_scenes: "SceneFinder | None" = None) -> Iterator["Store"]:
    """A results folder; what could not be read of it, and of the data, is said at the end, even where the command
    fails."""
    from barbench.results.store import Store

    store = Store(folder)
    try:
        yield store
    finally:
        print_notes(store.notes())
        if find_scenes is not None:
            print_notes(find_scenes.notes)
