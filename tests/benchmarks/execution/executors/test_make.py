"""Executors by name: what a command knows of a cell's place before it is there."""

from typing import get_args

import pytest

from barbench.benchmarks.execution.executors.base import Placement
from barbench.benchmarks.execution.executors.make import executor_class, place_cells
from barbench.benchmarks.execution.host import devices
from barbench.benchmarks.execution.host.variables import Slot
from barbench.errors import UnknownName, UsageError
from barbench.spec.cluster import Cluster
from barbench.spec.run import ExecutorName


@pytest.fixture(autouse=True)
def host_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them, and eight cores."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(devices, "core_count", lambda: 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_every_executor_says_what_differs() -> None:
    executors = {name: executor_class(name) for name in get_args(ExecutorName)}
    assert [each.name for each in executors.values()] == list(executors)
    assert {name: each.settles_on_host for name, each in executors.items()} == {
        "local": False, "slurm": True, "ray": True,
    }  # fmt: skip
    assert [name for name, each in executors.items() if each.detaches] == ["slurm"]
    assert [each.default_retries for each in executors.values()] == [0, 2, 2]
    with pytest.raises(UnknownName, match=r"unknown executor 'slurn'.*slurm"):
        executor_class("slurn")


@pytest.mark.parametrize(("device", "gpus"), [("cuda:1", None), ("cuda", "1"), ("auto", "1")])
def test_a_cells_device_has_no_number(device: str, gpus: str | None) -> None:
    """Its process sees the chosen GPU alone, as number 0; `cuda:1` would not be there."""
    assert place_cells("local", device, gpus, 1, None) == Placement("cuda", 8, (Slot(("1",), 8, 1),))


@pytest.mark.parametrize(("device", "gpus", "expected"), [("cpu", None, "cpu"), ("auto", "none", "cpu")])
def test_a_cell_without_gpus(device: str, gpus: str | None, expected: str) -> None:
    """Two processes share the cores of a slot; on a cluster threads are open."""
    assert place_cells("local", device, gpus, 2, None) == Placement(expected, 4, (Slot((), 8, 1),))
    assert place_cells("ray", device, gpus, 2, None) == Placement(expected, 0)


@pytest.mark.parametrize(
    ("variable", "jobs", "threads"), [("2", 1, 2), ("3,1", 1, 3), ("16", 1, 8), ("2", 8, 1), ("x", 1, 8), ("0", 1, 8)]
)
def test_fewer_threads_by_openmps_variable(
    variable: str, jobs: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how many threads a cell has on this host, as far as its share of the cores goes."""
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert place_cells("local", "cpu", None, 1, jobs).threads == threads


def test_a_cluster_chooses_its_gpus() -> None:
    assert place_cells("slurm", "auto", None, 1, None).device == "cuda"
    with pytest.raises(UsageError, match=r"^--executor slurm: the cluster chooses GPUs; --gpus is all or none there$"):
        place_cells("slurm", "auto", "0,1", 1, None)


def test_this_host_has_as_many_slots_as_its_placement() -> None:
    placement = place_cells("local", "auto", "all", 1, None)
    assert executor_class("local").make(placement, Cluster(), 1, None).slots == 2
