"""A real want of memory: the worker may have less address space than its micro-batches take."""

import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest

from barbench.benchmarks.execution.run import run_jobs
from barbench.benchmarks.execution.worker import process
from barbench.benchmarks.job import Job
from barbench.results.store import Store
from tests.benchmarks.conftest import MakeJobs, Told
from tests.benchmarks.conftest import make_jobs as make_jobs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit"),
]


class Watching(Told):
    """A display that reads the worker's largest address space, in bytes, from the system."""

    largest = 0

    def event(self, job: Job, event: dict[str, Any]) -> None:
        super().event(job, event)
        for child in psutil.Process().children(recursive=True):
            status = Path(f"/proc/{child.pid}/status").read_text().splitlines()
            found = next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmPeak")), 0)
            self.largest = max(self.largest, found)


def large(make_jobs: MakeJobs, results: Path, accumulate: int) -> Job:
    """32 samples a step at 96 px: activations of about 150 MB, beside libraries of 4 GB of address space."""
    [job] = make_jobs(results, "etris", epochs=1, batch=32, accumulate=accumulate, eval_batch=8)
    return job.model_copy(update={"cell": job.cell.model_copy(update={"image_size": 96})})


def space(job: Job) -> int:
    told = Watching()
    [record] = run_jobs([job], job.results, told)
    assert record.status == "done", record.reason
    return told.largest


def test_a_cell_that_runs_out_of_memory_says_so_and_is_halved_until_it_fits(
    make_jobs: MakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, quarter = (space(large(make_jobs, tmp_path / str(parts), parts)) for parts in (1, 4))
    assert whole - quarter > 60e6
    command, limit = process._command, (whole + 3 * quarter) // 4
    monkeypatch.setattr(process, "_command", lambda *module: ["prlimit", f"--as={limit}", *command(*module)])
    job, told = large(make_jobs, tmp_path / "limited", 1), Told()
    [alone] = run_jobs([job], job.results, told)
    assert alone.status == "out-of-memory"
    assert "memory" in str(alone.reason)
    assert alone.peak_memory_bytes is not None
    assert 200e6 < alone.peak_memory_bytes < limit
    [done] = run_jobs([job], job.results, told, halve=True)
    assert done.status == "done", done.reason
    assert done.cell.recipe["accumulate"] in (2, 4)
    assert done.profile is not None
    assert done.history[0].steps == 1
    first = Store(job.results).load(job.cell)
    assert first is not None
    assert first.status == "out-of-memory"
