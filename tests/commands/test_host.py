"""What cells are told of their host: GPUs are pretended."""

import pytest

from barbench.commands.expand import RunRequest, _host


@pytest.mark.parametrize(("device", "gpus"), [("cuda:1", None), ("cuda", "1"), ("auto", "1")])
def test_a_cells_device_has_no_number(monkeypatch: pytest.MonkeyPatch, device: str, gpus: str | None) -> None:
    """Its process sees the chosen GPU alone, as number 0; `cuda:1` would not be there."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert _host(RunRequest(device=device, gpus=gpus), ["ViT-B-16"]).device == "cuda"
