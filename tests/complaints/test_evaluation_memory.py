"""Memory does not grow while images are scored (complaint 5; rf-detr#1084, mmsegmentation#2108)."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from barbench.benchmarks.execution.host.variables import worker_variables
from barbench.engine.accelerator import make_accelerator
from barbench.engine.predict import predict
from tests.complaints.complaints import each_method, judge
from tests.complaints.evaluate_many import BETWEEN, LARGEST
from tests.contract.test_contract import built
from tests.models.small import SIZE, inputs

IMAGES = 2_000


def kept_tensors() -> int:
    gc.collect()
    return sum(isinstance(each, torch.Tensor) for each in gc.get_objects())


@pytest.mark.complaint(5)
@each_method("barleria")
def test_no_tensor_of_a_prediction_is_kept(name: str) -> None:
    """Neither by a component nor by what walks the towers: as many tensors after the third batch as after the first."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = make_accelerator("cpu")
    segmenter = built(name, "quickgelu").eval()
    images = torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)
    counts = []
    for seed in range(3):
        predict(segmenter, images, inputs(2, seed)[1], accelerator)
        counts.append(kept_tensors())
    judge(5, name, [f"tensors after each batch: {counts}"] if counts[2] > counts[0] else [])


def slope(values: list[int]) -> float:
    """Bytes per image, by least squares over the second half, when the largest image has been met.

    Without its largest step: a thread that first takes memory of its own is no growth, which has many steps.
    """
    steps = np.diff(np.array(values[len(values) // 2 :], float))
    steps[steps.argmax()] = 0
    grown = np.cumsum(steps)
    return float(np.polyfit(np.arange(len(grown)) * BETWEEN, grown, 1)[0])


def test_growth_is_seen_and_a_single_step_is_none() -> None:
    looks = range(IMAGES // BETWEEN)
    allowed = 4 * LARGEST**2 / 100 / BETWEEN
    assert slope([750_000_000 + 2 * int(allowed) * BETWEEN * look for look in looks]) > 1.5 * allowed
    # Growth in lumps, as an allocator takes it.
    assert slope([750_000_000 + 10_000_000 * (look // 5) for look in looks]) > allowed
    for place in looks:
        assert abs(slope([750_000_000 + 14_000_000 * (look > place) for look in looks])) < 1


@pytest.mark.complaint(5)
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_memory_does_not_grow_with_the_images_scored(tmp_path: Path) -> None:
    """2,000 images with sides of 50 to 4,000 px, under a worker's settings of the allocator.

    What is kept of an image is its row of counts; a hundredth of one large probability map would be seen.
    """
    command = [sys.executable, "-m", "tests.complaints.evaluate_many", str(tmp_path), str(IMAGES)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=worker_variables(), check=True, capture_output=True, text=True
    )
    resident = json.loads(done.stdout)
    assert len(resident) == IMAGES // BETWEEN
    assert slope(resident) < 4 * LARGEST**2 / 100 / BETWEEN, [round(value / 1e6) for value in resident]
