"""A results folder, and `put(method, …)` to save cells in it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from barbench.results.record import Record
from barbench.results.store import Store
from tests.results.cells import put_cell

Put = Callable[..., Record]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def put(store: Store) -> Put:
    return partial(put_cell, store)
