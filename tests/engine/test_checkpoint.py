"""Checkpoints: everything is restored, nothing half-written; unreadable files are set aside and never overwritten."""

import errno
import io
import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from barbench.engine import checkpoint as checkpoint_module
from barbench.engine.checkpoint import Checkpoint, Progress, load_tuned, tuned_state
from barbench.models.segmenter import Segmenter, segmentation_loss
from tests.models.small import SIZE

Build = Callable[..., Segmenter]
PROGRESS = Progress(7, 1.25, 3.5, [{"epoch": 1, "loss": 0.5, "lr": 1e-3, "seconds": 2.0, "steps": 5}])


def stepped(segmenter: Segmenter) -> torch.optim.Optimizer:
    """An optimizer with moments, after two steps."""
    optimizer = torch.optim.Adam(segmenter.tuned_parameters().values(), lr=1e-2)
    for seed in range(2):
        make = torch.Generator().manual_seed(seed)
        image, mask = torch.randn(2, 3, SIZE, SIZE, generator=make), torch.ones(2, SIZE, SIZE)
        optimizer.zero_grad()
        segmentation_loss(segmenter(image, torch.tensor([[5, 6, 7, 0], [5, 7, 0, 0]])).logits, mask).backward()
        optimizer.step()
    return optimizer


def drawn() -> tuple[float, float, float]:
    """The next number of each random generator."""
    return random.random(), float(np.random.random()), float(torch.rand(()))


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two states have the same names and the same values."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def saved(build: Build, accelerator: Accelerator, tmp_path: Path) -> tuple[Path, Segmenter, torch.optim.Optimizer]:
    """A checkpoint's file, and the segmenter and optimizer that it holds."""
    segmenter = build("etris")
    optimizer = stepped(segmenter)
    Checkpoint(tmp_path / "deep" / "c.pt", "cell").save(accelerator, segmenter, optimizer, PROGRESS)
    return tmp_path / "deep" / "c.pt", segmenter, optimizer


Saved = tuple[Path, Segmenter, torch.optim.Optimizer]


def test_everything_comes_back(saved: Saved, build: Build, accelerator: Accelerator) -> None:
    path, segmenter, optimizer = saved
    expected = drawn()
    other = build("etris", seed=1)
    fresh = torch.optim.Adam(other.tuned_parameters().values(), lr=1.0)
    assert not equal(tuned_state(other), tuned_state(segmenter))
    assert Checkpoint(path, "cell").load(accelerator, other, fresh) == PROGRESS
    assert drawn() == expected
    assert equal(tuned_state(other), tuned_state(segmenter))
    mine, theirs = fresh.state_dict(), optimizer.state_dict()
    assert mine["param_groups"] == theirs["param_groups"]
    assert all(equal(mine["state"][k], theirs["state"][k]) for k in theirs["state"])
    assert len(theirs["state"]) == len(other.tuned_parameters())


def test_frozen_weights_are_not_in_the_file(saved: Saved) -> None:
    path, segmenter, _ = saved
    held = torch.load(path, weights_only=True)["weights"]
    assert not [name for name, p in segmenter.named_parameters() if not p.requires_grad and name in held]
    assert segmenter.tuned_parameters().keys() <= held.keys()
    assert any("running_mean" in name for name in held)


def test_no_file_is_no_progress(build: Build, accelerator: Accelerator, tmp_path: Path) -> None:
    segmenter, checkpoint = build("head-only"), Checkpoint(tmp_path / "none.pt", "cell")
    optimizer = torch.optim.Adam(segmenter.tuned_parameters().values())
    assert checkpoint.load(accelerator, segmenter, optimizer) is None
    assert checkpoint.set_aside is None


class Bomb:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def cut(path: Path) -> None:
    """Half of the file is missing."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """The end of the file is overwritten."""
    content = bytearray(path.read_bytes())
    content[len(content) - 2000 :] = b"x" * 2000
    path.write_bytes(bytes(content))


def lacks_weights(path: Path) -> None:
    """One weight is missing."""
    state = torch.load(path, weights_only=True)
    state["weights"].popitem()
    torch.save(state, path)


def other_shape(path: Path) -> None:
    """One weight has another shape."""
    state = torch.load(path, weights_only=True)
    last = [name for name in state["weights"] if name.startswith("method.") and state["weights"][name].ndim == 2][-1]
    state["weights"][last] = torch.zeros(3, 3)
    torch.save(state, path)


def other_optimizer(path: Path) -> None:
    """The optimizer's groups are missing."""
    state = torch.load(path, weights_only=True)
    state["optimizer"]["param_groups"] = []
    torch.save(state, path)


def old_progress(path: Path) -> None:
    """The progress lacks fields."""
    state = torch.load(path, weights_only=True)
    state["progress"] = {"step": 3}
    torch.save(state, path)


def two_processes(path: Path) -> None:
    """It was written by two processes."""
    state = torch.load(path, weights_only=True)
    state["generators"] *= 2
    torch.save(state, path)


def bad_generators(path: Path) -> None:
    """The generators' states are of the wrong type."""
    state = torch.load(path, weights_only=True)
    state["generators"] = [{"torch": None}]
    torch.save(state, path)


def a_list(path: Path) -> None:
    """A list in place of a state."""
    torch.save([1, 2], path)


def a_tensor(path: Path) -> None:
    """A tensor in place of a state."""
    torch.save(torch.zeros(3), path)


def empty(path: Path) -> None:
    """An empty file."""
    path.write_bytes(b"")


def text(path: Path) -> None:
    """A text file."""
    path.write_text("not a checkpoint\n")


DAMAGES = [
    cut, flip, empty, text, lacks_weights, other_shape, other_optimizer, old_progress, two_processes, bad_generators,
    a_list, a_tensor,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_what_cannot_be_read_is_set_aside_and_nothing_changes(
    damage: Callable[[Path], None], saved: Saved, build: Build, accelerator: Accelerator
) -> None:
    path = saved[0]
    damage(path)
    content = path.read_bytes()
    segmenter = build("etris", seed=2)
    optimizer = torch.optim.Adam(segmenter.tuned_parameters().values())
    before = tuned_state(segmenter)
    checkpoint = Checkpoint(path, "cell")
    assert checkpoint.load(accelerator, segmenter, optimizer) is None
    assert checkpoint.set_aside == path.with_name("c.pt.corrupt-1")
    assert not path.exists()
    assert checkpoint.set_aside.read_bytes() == content
    assert equal(tuned_state(segmenter), before)
    assert not optimizer.state


def test_another_cells_state_is_never_loaded(saved: Saved, build: Build, accelerator: Accelerator) -> None:
    segmenter = build("etris")
    before = tuned_state(segmenter)
    checkpoint = Checkpoint(saved[0], "other")
    optimizer = torch.optim.Adam(segmenter.tuned_parameters().values())
    assert checkpoint.load(accelerator, segmenter, optimizer) is None
    assert equal(tuned_state(segmenter), before)
    assert checkpoint.set_aside is not None


def test_nothing_set_aside_is_overwritten(saved: Saved, build: Build, accelerator: Accelerator) -> None:
    path, segmenter, optimizer = saved
    for number in (1, 2, 3):
        path.write_text(f"damage {number}")
        Checkpoint(path, "cell").load(accelerator, segmenter, optimizer)
    kept = {p.name: p.read_text() for p in path.parent.iterdir()}
    assert kept == {f"c.pt.corrupt-{n}": f"damage {n}" for n in (1, 2, 3)}


def test_loading_runs_no_code(saved: Saved, accelerator: Accelerator, tmp_path: Path) -> None:
    path, segmenter, optimizer = saved
    for save in (torch.save, lambda value, at: at.write_bytes(pickle.dumps(value))):
        save({"identity": Bomb(tmp_path / "boom")}, path)
        assert Checkpoint(path, "cell").load(accelerator, segmenter, optimizer) is None
    assert not (tmp_path / "boom").exists()


def test_a_crash_while_saving_leaves_the_old_file(
    saved: Saved, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, segmenter, optimizer = saved
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        Checkpoint(path, "cell").save(accelerator, segmenter, optimizer, PROGRESS)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["c.pt"]


def test_load_tuned_names_what_is_missing_and_left_over(build: Build) -> None:
    etris, head = build("etris"), build("head-only")
    with pytest.raises(ValueError, match=r"the weights lack method\."):
        load_tuned(etris, tuned_state(head))
    with pytest.raises(ValueError, match=r"hold method\..*, …, which the model lacks"):
        load_tuned(head, tuned_state(etris))


@pytest.mark.slow
def test_where_one_process_cannot_read_it_none_continues_from_it(backbone_folder: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "c.pt", tmp_path / "out.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = ["-m", "tests.engine.two_process_resume", str(backbone_folder), str(path), str(out)]
    subprocess.run([*command, *arguments], cwd=Path(__file__).parents[2], check=True, timeout=300, capture_output=True)
    assert json.loads(out.read_text()) == [[True, True, "c.pt.corrupt-1"], [True, True, None]]
    assert not path.exists()


def test_a_full_disk_is_raised_as_an_os_error(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, content: Any) -> int:
            if self.tell() > 100:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content)

    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint_module._write({"a": torch.zeros(10_000), "b": torch.zeros(10)}, Full())
    assert caught.value.errno == errno.ENOSPC
