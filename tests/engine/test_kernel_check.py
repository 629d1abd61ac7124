"""`--kernels auto` on a CUDA card: fused kernels where they were found equal there, `low_memory` ones elsewhere."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from filelock import FileLock

from barbench.engine import kernel_check
from barbench.engine.kernel_check import compare, settle_kernels
from barbench.models.efficient import fused, upsample
from barbench.models.efficient.kernels import choose_kernels, use_fused
from tests.complaints.two_processes import in_two_processes

CPU = torch.device("cpu")
CARD = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _kernels() -> Iterator[None]:
    yield
    choose_kernels("auto")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A card that is not there: `problems` are what is found on it, `compared` how often; an empty cache folder."""
    pretended = SimpleNamespace(problems=(), compared=0)

    def compare_apart(device: torch.device, precision: str) -> tuple[str, ...]:
        pretended.compared += 1
        if isinstance(pretended.problems, Exception):
            raise pretended.problems
        return tuple(pretended.problems)

    monkeypatch.setenv("BARBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card 9000")
    monkeypatch.setattr(kernel_check.collect_env, "get_nvidia_driver_version", lambda run: "999.1")
    monkeypatch.setattr(kernel_check, "_compare_apart", compare_apart)
    return pretended


def test_equal_kernels_are_used_and_compared_once(card: Any, tmp_path: Path) -> None:
    for _ in range(2):
        choose_kernels("auto")
        assert settle_kernels("auto", CARD, "bf16") is None
        assert use_fused()
    assert card.compared == 1
    [file] = (tmp_path / "kernels").glob("*.json")
    stored = json.loads(file.read_text())
    assert stored["problems"] == []
    assert stored["card"]["name"] == "Card 9000"
    assert stored["card"]["driver"] == "999.1"
    assert stored["card"]["torch"] == torch.__version__


def test_what_was_found_holds_for_its_card_driver_precision_and_code(
    card: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settle_kernels("auto", CARD, "bf16")
    settle_kernels("auto", CARD, "fp16")
    assert card.compared == 2
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card 9001")
    settle_kernels("auto", CARD, "bf16")
    assert card.compared == 3
    monkeypatch.setattr(kernel_check.collect_env, "get_nvidia_driver_version", lambda run: "999.2")
    settle_kernels("auto", CARD, "bf16")
    assert card.compared == 4
    # Kernels that were edited since.
    edited = tmp_path / "efficient"
    edited.mkdir()
    (edited / "fused.py").write_text("ROWS = 8")
    monkeypatch.setattr(fused, "__file__", str(edited / "fused.py"))
    card.problems = ["fp32, planar flow of 512 channels: 1.0e+00 off"]
    assert settle_kernels("auto", CARD, "bf16") is not None
    assert card.compared == 5
    assert not use_fused()


def test_kernels_that_differ_are_not_used_and_one_line_says_so(card: Any, tmp_path: Path) -> None:
    card.problems = ["bf16, LayerNorm of 512 channels: 1.0e+00 off", "and another"]
    for _ in range(2):
        line = settle_kernels("auto", CARD, "bf16")
        assert not use_fused()
        assert line is not None
        [file] = (tmp_path / "kernels").glob("*.json")
        assert line == (
            "low_memory kernels are used, since fused ones fail on this card: bf16, LayerNorm of 512 channels: "
            f"1.0e+00 off. To report it, give the content of {file}"
        )
    assert card.compared == 1
    assert json.loads(file.read_text())["problems"] == card.problems


def test_of_processes_that_start_at_once_one_compares(
    card: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those of a cell of several processes, or two cells on cards of one kind."""
    marks = tmp_path / "compared"
    marks.mkdir()

    def compare_slowly(device: torch.device, precision: str) -> tuple[str, ...]:
        (marks / str(device.index)).touch()
        time.sleep(1)
        return ("bf16, a step: 1.0e+00 off",)

    monkeypatch.setattr(kernel_check, "_compare_apart", compare_slowly)
    said = in_two_processes(lambda rank: settle_kernels("auto", torch.device("cuda", rank), "bf16"))
    assert len(list(marks.iterdir())) == 1
    assert said[0] is not None
    assert said[0] == said[1]


def test_a_process_that_has_waited_long_enough_compares_by_itself(
    card: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settle_kernels("auto", CARD, "bf16")
    [file] = (tmp_path / "kernels").glob("*.json")
    file.unlink()
    monkeypatch.setattr(kernel_check, "SECONDS", 0.1)
    with FileLock(file.with_suffix(".lock")):
        assert settle_kernels("auto", CARD, "bf16") is None
    assert card.compared == 2


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    card: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_folder = tmp_path / "file"
    no_folder.touch()
    monkeypatch.setenv("BARBENCH_CACHE", str(no_folder))
    assert settle_kernels("auto", CARD, "bf16") is None
    card.problems = ["all wrong"]
    line = settle_kernels("auto", CARD, "bf16")
    assert line is not None
    assert "It is checked again each time, since" in line
    assert card.compared == 2


def test_a_card_that_is_busy_is_asked_again(card: Any, tmp_path: Path) -> None:
    card.problems = ValueError("CUDA-capable device(s) is/are busy or unavailable")
    line = settle_kernels("auto", CARD, "bf16")
    assert line is not None
    assert "busy" in line
    assert not use_fused()
    card.problems = []
    assert settle_kernels("auto", CARD, "bf16") is None
    assert use_fused()


def test_a_damaged_answer_is_made_again(card: Any, tmp_path: Path) -> None:
    settle_kernels("auto", CARD, "bf16")
    [file] = (tmp_path / "kernels").glob("*.json")
    file.write_text(file.read_text()[:20])
    settle_kernels("auto", CARD, "bf16")
    assert card.compared == 2


def test_kernels_that_are_named_are_not_checked_and_a_cpu_stays_as_it_is(card: Any) -> None:
    card.problems = ["all wrong"]
    for name, uses_fused in (("fused", True), ("lean", True), ("low_memory", False), ("plain", False)):
        assert settle_kernels(name, CARD, "bf16") is None  # type: ignore[arg-type]
        assert use_fused() == uses_fused
    assert settle_kernels("auto", CPU, "bf16") is None
    assert not use_fused()
    assert card.compared == 0


def test_a_kernel_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compare(CPU, "bf16") == []
    convolve = upsample._ConvolveBatch.forward
    monkeypatch.setattr(upsample._ConvolveBatch, "forward", staticmethod(lambda *a: convolve(*a) * 1.001))
    [problem] = compare(CPU, "fp32")
    assert problem.startswith("fp32, convolution of an upsampled map: 1.0e-03 off")


def test_tritons_kernels_that_are_wrong_or_not_compiled_are_found() -> None:
    pytest.importorskip("triton")
    command = [sys.executable, "-W", "ignore", "-m", "tests.engine.interpreted_check"]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["right"] == []
    [norm] = found["another eps"]
    assert norm.startswith("bf16, LayerNorm of 20 channels: ")
    assert found["a row is left out"][0].startswith("fp32, planar flow of 20 channels: ")
    assert found["not compiled"] == ["fp32: RuntimeError: PassManager::run failed"]


def test_a_triton_that_cannot_be_imported_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text("raise ImportError('libcuda.so is too old')")
    paths = [str(tmp_path), str(Path(__file__).parents[2])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert kernel_check._compare_apart(CPU, "fp32") == ("Triton cannot be imported: libcuda.so is too old",)


def test_a_card_that_does_not_answer_gives_no_verdict() -> None:
    with pytest.raises(ValueError, match="privateuseone"):
        kernel_check._compare_apart(torch.device("privateuseone"), "fp32")
