"""This host divided among cells: GPUs that are pretended, cores that are counted."""

import pytest

from barbench.benchmarks.execution.host import devices
from barbench.benchmarks.execution.host.devices import choose_gpus, local_slots
from barbench.errors import UsageError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four of them, and eight cores."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(devices, "core_count", lambda: 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("device", "chosen", "processes", "jobs", "shares", "cores"),
    [
        ("auto", None, 1, None, ["0", "1", "2", "3"], 2),
        ("cuda", "0,2", 1, None, ["0", "2"], 4),
        ("cuda:1", None, 1, None, ["1"], 8),
        ("auto", "all", 2, None, ["0,1", "2,3"], 4),
        ("auto", "0,1,2", 2, None, ["0,1"], 8),
        ("auto", "all", 1, 2, ["0", "1"], 4),
        ("auto", "0,1", 1, 4, ["0", "1", "0", "1"], 2),
        ("auto", "none", 1, None, [""], 8),
        ("cpu", None, 1, 4, ["", "", "", ""], 2),
        ("cpu", None, 1, 16, [""] * 16, 1),
    ],
)
def test_gpus_and_cores_are_divided(
    device: str, chosen: str | None, processes: int, jobs: int | None, shares: list[str], cores: int
) -> None:
    slots = local_slots(device, chosen, processes, jobs)
    assert [",".join(slot.gpus) for slot in slots] == shares
    assert {slot.cores for slot in slots} == {cores}
    assert {slot.neighbours for slot in slots} == {len(shares)}


@pytest.mark.usefixtures("gpus")
def test_small_models_on_a_cpu_take_a_core_each() -> None:
    assert len(local_slots("cpu", None, 1, None, small=True)) == 8
    assert len(local_slots("cpu", None, 2, None, small=True)) == 4
    assert len(local_slots("cpu", None, 1, None)) == 1
    assert len(local_slots("auto", None, 1, None, small=True)) == 4, "on GPUs one cell each"


@pytest.mark.usefixtures("gpus")
def test_those_that_this_process_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch system names the GPUs of a job; numbers count among those."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8d, MIG-3f")
    assert choose_gpus("auto", None) == ["GPU-8d", "MIG-3f"]
    assert choose_gpus("cuda:1", None) == ["MIG-3f"]


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("device", "chosen", "processes", "says"),
    [
        ("auto", "0,9", 1, "--gpus 0,9: write all, none, or numbers; this host has GPUs 0 to 3"),
        ("auto", "first", 1, "--gpus first: write all, none, or numbers; this host has GPUs 0 to 3"),
        ("cuda:1", "0", 1, "--device cuda:1 and --gpus 0 contradict each other; give one of them"),
        ("cuda", "none", 1, "--gpus none and --device cuda contradict each other; give one of them"),
        ("cpu", "0", 1, "--gpus 0: --device cpu is no GPU"),
        ("auto", "0", 2, "--processes 2 needs as many GPUs, and has 1 to use"),
        ("cuda:4", None, 1, "--device cuda:4: this host has 4 GPUs that torch can use"),
    ],
)
def test_what_is_not_there(device: str, chosen: str, processes: int, says: str) -> None:
    with pytest.raises(UsageError) as error:
        local_slots(device, chosen, processes, None)
    assert str(error.value) == says


def test_a_host_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match=r"^--gpus all: this host has no GPU$"):
        choose_gpus("auto", "all")
