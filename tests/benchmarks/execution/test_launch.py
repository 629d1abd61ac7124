"""What cells are told of their host: GPUs are pretended."""

from pathlib import Path

import pytest

from barbench.benchmarks.execution.launch import prepare
from tests.benchmarks.conftest import MakeJobs


@pytest.mark.parametrize(("device", "gpus"), [("cuda:1", None), ("cuda", "1"), ("auto", "1")])
def test_a_cells_device_has_no_number(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: str | None, make_jobs: MakeJobs, tmp_path: Path
) -> None:
    """Its process sees the chosen GPU alone, as number 0; `cuda:1` would not be there."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    [job] = make_jobs(tmp_path)
    assert prepare([job.at(device=device, gpus=gpus)]).place.device == "cuda"
