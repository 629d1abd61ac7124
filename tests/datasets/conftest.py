"""Fixtures of the datasets' tests: the folder written by hand, the paper's partition, the real tokenizer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from open_clip.tokenizer import SimpleTokenizer

from barbench.datasets.tokens import Tokens
from barbench.paper.partitions import PAPER_PARTITIONS, Partition
from tests.datasets.refer_folder import instances, write_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data")


@pytest.fixture
def edit(root: Path) -> Callable[[Callable[[dict[str, Any]], object]], None]:
    """Changes instances.json in place."""

    def change(by: Callable[[dict[str, Any]], object]) -> None:
        value = instances()
        by(value)
        (root / "refcoco/instances.json").write_text(json.dumps(value))

    return change


@pytest.fixture(scope="session")
def refcoco() -> Partition:
    return PAPER_PARTITIONS.get("refcoco")


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    return Tokens(SimpleTokenizer(), 17)
