"""The records that a command reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from barbench.listing import print_notes

if TYPE_CHECKING:
    from barbench.results.store import Store


@contextmanager
def open_store(folder: Path) -> Iterator["Store"]:
    """A results folder; what could not be read is said at the end, even where the command fails."""
    from barbench.results.store import Store

    store = Store(folder)
    try:
        yield store
    finally:
        print_notes(store.notes())
