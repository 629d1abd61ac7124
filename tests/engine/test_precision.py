"""What precision ran: named by what torch says it does, not by the cell."""

from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from barbench.engine.accelerator import make_accelerator
from barbench.engine.precision import precision_facts


@pytest.fixture
def tf32() -> Iterator[None]:
    """TF32 allowed, as torch does for convolutions; put back afterwards."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products


def on_cuda() -> Any:
    """What the facts are read from, on a GPU that is not there."""
    return SimpleNamespace(device=torch.device("cuda", 0), autocast=nullcontext)


@pytest.mark.usefixtures("tf32")
def test_fp32_is_fp32_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "native")
    before = precision_facts(on_cuda())
    AcceleratorState._reset_state()
    make_accelerator("cpu")
    after = precision_facts(on_cuda())
    assert (before["tf32_products"], before["tf32_convolutions"]) == (True, True)
    assert (after["tf32_products"], after["tf32_convolutions"]) == (False, False)
    assert after["allocator"] == "native"


@pytest.mark.parametrize(("precision", "kind"), [("no", None), ("bf16", "bfloat16")])
def test_the_type_that_autocast_computes_in(precision: str, kind: str | None) -> None:
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    assert precision_facts(accelerator) == {"autocast": kind, "kernels": "low_memory"}
    AcceleratorState._reset_state()
