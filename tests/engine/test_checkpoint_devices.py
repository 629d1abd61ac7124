"""The generator of the GPU that trains, and of no other, is in a checkpoint: a host may have another number of GPUs."""

from typing import Any

import pytest
import torch

from barbench.engine import checkpoint


class Cards:
    """The generators of pretended GPUs: a number each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
        self.states = [torch.tensor([n], dtype=torch.uint8) for n in numbers]
        monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: self.states[device.index or 0])
        monkeypatch.setattr(torch.cuda, "set_rng_state", self.put)

    def put(self, state: torch.Tensor, device: torch.device) -> None:
        self.states[device.index or 0] = state

    def numbers(self) -> list[int]:
        return [int(state) for state in self.states]


def saved(monkeypatch: pytest.MonkeyPatch, device: str, *numbers: int) -> dict[str, Any]:
    Cards(monkeypatch, *numbers)
    return checkpoint._generators(torch.device(device))


@pytest.mark.parametrize(("there", "here"), [("cuda:1", "cuda:0"), ("cuda", "cuda"), ("cuda:0", "cuda:1")])
def test_the_training_gpus_state_goes_on_on_another(monkeypatch: pytest.MonkeyPatch, there: str, here: str) -> None:
    state = saved(monkeypatch, there, 10, 11)
    cards = Cards(monkeypatch, 0, 0)
    checkpoint._set_generators(state, torch.device(here))
    own = 11 if there == "cuda:1" else 10
    assert cards.numbers() == ([0, own] if here == "cuda:1" else [own, 0])


@pytest.mark.parametrize(("device", "expected"), [("cuda:0", 7), ("cuda:1", 8), ("cuda:2", 9), ("cuda:3", 9)])
def test_a_file_that_holds_all_gpus_states_is_read(monkeypatch: pytest.MonkeyPatch, device: str, expected: int) -> None:
    """As they were written before: three GPUs were visible, and now there is one more, or fewer."""
    state = saved(monkeypatch, "cuda", 0)
    state["cuda"] = [torch.tensor([n], dtype=torch.uint8) for n in (7, 8, 9)]
    cards = Cards(monkeypatch, *range(torch.device(device).index + 1))
    checkpoint._set_generators(state, torch.device(device))
    assert cards.numbers()[-1] == expected


def test_a_cpu_asks_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", pytest.fail)
    monkeypatch.setattr(torch.cuda, "set_rng_state", pytest.fail)
    state = checkpoint._generators(torch.device("cpu"))
    assert state["cuda"] == []
    state["cuda"] = [torch.zeros(1, dtype=torch.uint8)]
    checkpoint._set_generators(state, torch.device("cpu"))
