"""Cells as processes of this host: their order, and the GPUs that each sees."""

from pathlib import Path

import pytest

from barbench.benchmarks.execution.executors.local import Local
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.run import run_jobs
from tests.benchmarks.conftest import MakeJobs, Told
from tests.benchmarks.execution.executors import contract


@pytest.mark.parametrize(
    ("forecast", "order"),
    [({}, [3, 1, 2, 0]), ({0: 9.0, 1: 7.0, 2: 8.0, 3: 1.0}, [0, 2, 1, 3]), ({3: 99.0}, [1, 2, 0, 3])],
)
def test_the_longest_cells_begin_first(
    forecast: dict[int, float], order: list[int], make_jobs: MakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what records say; those that none tells of before them, by their components: 0, 2, 1 and 3 here."""
    contract.fake(monkeypatch)
    made = contract.cells(make_jobs(tmp_path)[0], ["ok"] * 4)
    jobs = [job.model_copy(update={"composition": ("X",) * n}) for job, n in zip(made, (0, 2, 1, 3), strict=True)]
    seconds = {jobs[at].cell.id(): value for at, value in forecast.items()}
    run_jobs(jobs, tmp_path, Told(), executor=Local([Slot()]), forecast=seconds)
    assert sorted(range(4), key=lambda at: contract.tries(jobs[at])) == order


def test_a_worker_sees_the_gpus_of_its_slot_alone(
    make_jobs: MakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract.fake(monkeypatch)
    jobs = contract.cells(make_jobs(tmp_path)[0], ["ok"] * 4)
    contract.run(jobs, Local([Slot(("GPU-8d",)), Slot(("2", "3"))]))
    assert {(job.scratch / "gpus").read_text() for job in jobs} == {"GPU-8d", "2,3"}
