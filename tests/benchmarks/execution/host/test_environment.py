"""Where a cell ran is told without naming a machine or a person."""

import getpass
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from barbench.benchmarks.execution.host.environment import PACKAGES, environment
from barbench.benchmarks.execution.host.variables import worker_variables

AGAIN = """
import resource, torch
touch = lambda: torch.zeros(16, 1 << 20).sum()
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40): touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_what_explains_a_difference_is_there() -> None:
    found = environment(torch.device("cpu"), 3)
    packages = found["packages"]
    assert isinstance(packages, dict)
    assert packages.keys() == set(PACKAGES)
    assert str(packages["torch"]) == version("torch")
    assert found["python"] == platform.python_version()
    assert found["threads"] == 3
    assert found["device"]


def test_no_paths_and_no_names() -> None:
    text = json.dumps(environment(torch.device("cpu"), 1))
    assert str(Path.home()) not in text
    assert str(Path(__file__).parents[3]) not in text
    assert f'"{platform.node()}"' not in text
    assert f'"{getpass.getuser()}"' not in text


def test_what_the_user_sets_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert worker_variables()["GOMP_SPINCOUNT"] == "7"
    assert worker_variables()["PATH"] == os.environ["PATH"]


def test_a_worker_is_nobodys_rank_unless_its_own_launcher_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """By such variables of a job around it, accelerate would wait for other processes."""
    strays = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT PMI_SIZE OMPI_COMM_WORLD_RANK"
    for name in f"{strays} MV2_COMM_WORLD_SIZE MPI_LOCALRANKID ACCELERATE_USE_FSDP TORCHELASTIC_RUN_ID".split():
        monkeypatch.setenv(name, "stray")
    monkeypatch.setenv("NAME", "kept")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    before, seen = worker_variables(), worker_variables(["GPU-1", "GPU-2"])
    assert not {name for name, value in before.items() if value == "stray"}
    assert (before["NAME"], before["CUDA_VISIBLE_DEVICES"]) == ("kept", "5")
    assert seen["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-2"
    assert "SIGUSR2" in seen["TORCHELASTIC_SIGNALS_TO_HANDLE"].split(",")


@pytest.mark.parametrize("sign", ["SIGTERM", "SIGUSR2"])
def test_a_worker_hears_signals_before_it_imports_torch(sign: str) -> None:
    code = f"""
import importlib, os, runpy, signal, sys
def imported(name):
    assert "torch" not in sys.modules
    os.kill(os.getpid(), signal.{sign})
importlib.import_module = imported
runpy.run_module("barbench.benchmarks.execution.worker.start", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)) == (75, {"event": "exit", "how": "stopped", "reason": ""}), (
        done.stderr
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of GNU's C library")
def test_memory_is_had_from_the_system_once() -> None:
    """Forty tensors of 64 MB, one after the other, touch fewer new pages than ten of them have."""
    done = subprocess.run(
        [sys.executable, "-c", AGAIN], env=worker_variables(), capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 10 * 64 * 2**20 // os.sysconf("SC_PAGESIZE")
