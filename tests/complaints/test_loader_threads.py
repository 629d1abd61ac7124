"""A loading process computes with one thread, however many there are (complaint 9; PaddleSeg#2640)."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.refer import read_refer
from barbench.datasets.samples import EvalSamples, TrainSamples
from barbench.datasets.tokens import Tokens
from barbench.engine import evaluate, train
from barbench.models.towers.load import load_backbone
from barbench.paper.partitions import PAPER_PARTITIONS
from tests.models.small import SIZE

OF_A_LOADER = 3
"""Its own thread, the one that feeds its queue, and the one that hands out its shared memory: one of them computes."""


@pytest.fixture
def _threads_of_torch() -> Iterator[None]:
    """Four, as on a machine with four cores; the loading processes are forked from this one."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    torch.randn(512, 512) @ torch.randn(512, 512)
    yield
    torch.set_num_threads(before)


def threads(pid: int) -> int:
    """Of a process, as the system counts them."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("Threads:")]
    return int(line.split()[1])


@pytest.mark.complaint(9)
@pytest.mark.usefixtures("_threads_of_torch")
@pytest.mark.skipif(sys.platform != "linux", reason="threads are read from /proc")
def test_a_loading_process_has_no_threads_of_its_own(shapes_root: Path, backbone_folder: Path) -> None:
    """In training and in evaluation, where images are decoded, resized and read from runs of pixels."""
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True)
    assert threads(os.getpid()) > OF_A_LOADER, "a pool of threads is seen"
    data = read_refer(shapes_root, PAPER_PARTITIONS.get("refcoco+"))
    tokens = Tokens(load_backbone(str(backbone_folder), "random").tokenizer, 17)
    training = TrainSamples(data.split("train"), Letterbox(SIZE), tokens, seed=0)
    scoring = EvalSamples(data.split("val"), Letterbox(SIZE), tokens)
    for count in (1, 2, 4):
        loaders = [
            train._loader(training, [[index] for index in range(8)], accelerator, count),
            evaluate._loader(scoring, accelerator, [[index] for index in range(8)], count),
        ]
        for loader in loaders:
            batches = iter(loader)
            next(batches)
            workers = batches._workers  # type: ignore[attr-defined]
            found = [threads(worker.pid) for worker in workers]
            del batches
            assert len(found) == count
            assert max(found) <= OF_A_LOADER, f"{found} threads in {count} loading processes"
