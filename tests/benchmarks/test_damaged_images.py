"""A damaged evaluation image ends a cell before its training."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from barbench.benchmarks.cell import run_cell
from barbench.benchmarks.execution.worker.signals import StopSignal
from barbench.datasets.refer import read_refer
from barbench.errors import DataError
from barbench.paper.partitions import PAPER_PARTITIONS
from tests.benchmarks.conftest import MakeJobs


def test_a_damaged_evaluation_image_is_found_before_training(
    make_jobs: MakeJobs, shapes_root: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(shapes_root, tmp_path / "data")
    data = read_refer(root, PAPER_PARTITIONS.get("refcoco"))
    train = {r.image_id for r in data.split("train").references}
    bad = next(data.images[r.image_id].path for r in data.split("val").references if r.image_id not in train)
    bad.write_bytes(bad.read_bytes()[:200])
    events: list[dict[str, Any]] = []
    (job,) = make_jobs(tmp_path / "results", root=root)  # of G-Ref, where all images of val train, too
    job = job.model_copy(update={"cell": job.cell.model_copy(update={"dataset": "refcoco"})})
    AcceleratorState._reset_state()
    with pytest.raises(DataError, match=bad.name):
        run_cell(job, events.append, StopSignal().at_steps)
    assert [event for event in events if event["event"] == "step"] == []
