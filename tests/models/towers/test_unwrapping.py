"""Checkpoints as training code and failed downloads leave them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from barbench.errors import DataError
from barbench.models.towers.weights import read_weights
from barbench.spec.backbone import backbone_config

STATE = {"a.weight": torch.arange(3.0), "b.bias": torch.ones(2)}


@pytest.mark.parametrize(
    "wrapped",
    [
        STATE,
        {"model": STATE},
        {"epoch": 3, "model_state_dict": STATE},
        [STATE],
        {"epoch": np.int64(3), "best": np.float64(0.5), "state_dict": STATE},
        {"state_dict": {f"module.{name}": value for name, value in STATE.items()}},
    ],
    ids=["bare", "model", "model_state_dict", "list", "numpy", "module"],
)
def test_the_same_tensors_come_out_of_every_wrapping(wrapped: Any, tmp_path: Path) -> None:
    torch.save(wrapped, tmp_path / "w.pt")
    read = read_weights(tmp_path / "w.pt", backbone_config("tiny"))
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>403</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_what_is_found_in_the_place_of_weights_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_weights(tmp_path / "w.pt", backbone_config("tiny"))


def test_no_message_advises_to_run_the_code_in_a_file(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "config": Path("x")}, tmp_path / "w.pt")
    with pytest.raises(DataError) as caught:
        read_weights(tmp_path / "w.pt", backbone_config("tiny"))
    assert "weights_only" not in str(caught.value)
    assert "pathlib" in str(caught.value)
