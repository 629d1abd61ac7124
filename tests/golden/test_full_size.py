"""Parity with the public code at full size, in float64: logits, loss and the gradient of every tuned parameter.

The measurement runs in a process of its own, with the code of MKL that is the same on every x86 processor. Positional
encodings are float32 in the public code and in ours, and MKL's `exp` rounds them by the processor: with its usual code
everything differs by 6e-7 on a processor of another kind than the one that the golden files were made on.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden.full_size import CASES, read

REPOSITORY = Path(__file__).parents[2]
TOLERANCE, LEAST = 1e-10, 1e-6  # gradients far below the others, which are some 1e-2, are sums that cancel


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_equals_the_released_code_at_full_size(case: str, tmp_path: Path) -> None:
    expected = read(Path(__file__).parent / "full-size" / f"{case}.npz")
    file = tmp_path / "found.npz"
    command = [sys.executable, "-W", "ignore", "-m", "tests.golden.full_size", case, str(file)]
    environment = {**os.environ, "MKL_CBWR": "COMPATIBLE"}  # read when MKL computes for the first time
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = read(file)
    assert found.keys() == expected.keys()
    errors = {n: ((found[n] - e).abs().max() / e.abs().max().clamp_min(LEAST)).item() for n, e in expected.items()}
    worst = max(errors, key=errors.__getitem__)
    assert errors[worst] < TOLERANCE, f"{worst} differs by {errors[worst]:.1e}"
