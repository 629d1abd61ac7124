"""What holds for every executor, with fake cells of a tenth of a second."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from barbench.benchmarks.execution.attempt import Attempt, StopRequest, perform
from barbench.benchmarks.execution.executors import slurm as slurm_module
from barbench.benchmarks.execution.executors.base import Executor
from barbench.benchmarks.execution.executors.local import Local
from barbench.benchmarks.execution.executors.ray import Ray
from barbench.benchmarks.execution.executors.slurm import Slurm
from barbench.benchmarks.execution.host.lock import lease_on
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.run_folder import RunFolder
from barbench.benchmarks.execution.worker.signals import interruptible
from barbench.benchmarks.job import Job
from barbench.errors import BarbenchError, Interrupted
from barbench.results.store import Store
from barbench.spec.cluster import Cluster
from tests.benchmarks.conftest import MakeJobs, Told
from tests.benchmarks.execution.executors import contract, fake_slurm

Make = Callable[[int], Executor]


def local(slots: int) -> Executor:
    return Local([Slot(neighbours=slots)] * slots)


def slurm(slots: int) -> Executor:
    return Slurm(Cluster(cpus=1), gpus=0, cells_at_once=slots)


@pytest.fixture(params=["local", *(pytest.param(name, marks=pytest.mark.slow) for name in ("slurm", "ray"))])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Make:
    if request.param == "ray":
        address = request.getfixturevalue("ray_cluster").address
        return lambda slots: Ray(Cluster(cpus=1, address=address), gpus=0, cells_at_once=slots)
    contract.fake(monkeypatch, tmp_path / "hook")
    if request.param == "local":
        return local
    pytest.importorskip("submitit")
    fake_slurm.install(tmp_path / "slurm", monkeypatch)
    monkeypatch.setattr(slurm_module, "LOOK_SECONDS", 0.5)
    return slurm


@pytest.fixture
def job(make_jobs: MakeJobs, tmp_path: Path) -> Job:
    return make_jobs(tmp_path / "results")[0]


def test_done_failed_and_always_dying(job: Job, make: Make) -> None:
    """Each has its own record, and no other cell suffers."""
    jobs, told = contract.cells(job, ["ok", "fail", "die", "ok"]), Told()
    records = contract.run(jobs, make(2), retries=1, told=told)
    assert [r.status for r in records] == ["done", "failed", "failed", "done"]
    assert records[1].reason == "as it was asked"
    assert "signal 11" in str(records[2].reason)
    assert [len(contract.tries(j)) for j in jobs] == [1, 1, 2, 1]
    assert sorted(r.cell.seed for r in told.ended) == [0, 1, 2, 3]
    assert RunFolder.all(job.results) == []


def test_a_lost_cell_is_tried_again_and_its_record_says_so(job: Job, make: Make) -> None:
    [only] = contract.cells(job, ["die-once"])
    [record] = contract.run([only], make(1), retries=1)
    assert record.status == "done"
    assert [log.how for log in record.attempts] == ["lost", "lost"], "the second was under way when it was written"
    assert record.attempts[0].steps == (1, 1)
    assert [log.number for log in record.attempts] == [1, 2]


def test_without_retries_a_lost_cell_is_a_failed_one(job: Job, make: Make) -> None:
    [only] = contract.cells(job, ["die-once"])
    assert contract.run([only], make(1))[0].status == "failed"
    assert contract.run([only], make(1))[0].status == "done", "by the same command given again"


def test_events_arrive_in_order(job: Job, make: Make) -> None:
    told = Told()
    contract.run(contract.cells(job, ["ok"]), make(1), told=told)
    assert [e["event"] for e in told.events] == ["attempt", "step", "step"]
    assert [e["step"] for e in told.events if e["event"] == "step"] == [1, 2]


def test_no_more_cells_at_a_time_than_slots(job: Job, make: Make) -> None:
    jobs = contract.cells(job, ["ok"] * 5)
    contract.run(jobs, make(2))
    changes = [(t, 1) for j in jobs for t in contract.tries(j)] + [
        (t, -1) for j in jobs for t in contract.tries(j, "ended")
    ]
    alive = most = 0
    for _, change in sorted(changes):
        alive += change
        most = max(most, alive)
    assert most in (1, 2), "one where the machine is so busy that a cell ends before the next one steps"


class Acting(Told):
    """Does something once two cells step."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__()
        self.act, self.stepping = act, set[str]()

    def event(self, job: Job, event: dict[str, Any]) -> None:
        super().event(job, event)
        if event["event"] == "step" and len(self.stepping) < 2:
            self.stepping.add(job.cell.id())
            if len(self.stepping) == 2:
                self.act()


def test_asked_to_stop_every_cell_keeps_a_checkpoint_and_goes_on_from_it(job: Job, make: Make) -> None:
    jobs = contract.cells(job, ["wait", "wait", "ok"])
    told = Acting(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with interruptible(), pytest.raises(KeyboardInterrupt):
        contract.run(jobs, make(2), told=told)
    assert [j.checkpoint.exists() for j in jobs] == [True, True, False]
    assert Store(job.results).all() == []
    assert RunFolder.all(job.results) == []
    told = Told()
    records = contract.run(jobs, make(2), told=told)
    assert [r.status for r in records] == ["done"] * 3
    assert records[0].attempts[0].how == "stopped"
    assert {e["step"] for e in told.events if e["event"] == "step"} == {1, 2, 3}
    assert not any(j.checkpoint.exists() or j.attempts_file.exists() for j in jobs)


def test_stopped_from_elsewhere(job: Job, make: Make) -> None:
    """By a file in the run's folder, as `barbench stop` leaves it: one cell, then the run."""
    jobs = contract.cells(job, ["wait", "wait"])

    def one() -> None:
        RunFolder.all(job.results)[0].ask_to_stop(jobs[0].cell.id())
        threading.Timer(2.5, lambda: RunFolder.all(job.results)[0].ask_to_stop()).start()

    with pytest.raises(Interrupted, match="stopped by barbench stop"):
        contract.run(jobs, make(2), told=Acting(one))
    assert all(j.checkpoint.exists() for j in jobs)
    assert Store(job.results).all() == []


def test_refused_where_the_results_folder_is_another(job: Job) -> None:
    ended = perform(Attempt(job=job, run="0101-000000-abcd", executor="local"), StopRequest())
    assert (ended.how, "another results folder" in ended.reason) == ("refused", True)
    assert not job.results.exists()


def test_refused_where_the_code_is_another(job: Job) -> None:
    ended = perform(contract.attempt_at(job, code="0" * 12), StopRequest())
    assert (ended.how, ended.reason) == ("refused", "the code of barbench here is not that of the run")


def test_refused_by_the_worker(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """It alone knows whether data, weights and GPUs of the host are the cell's. No record says that the cell failed."""
    contract.fake(monkeypatch)
    [job] = contract.cells(job, ["refuse"])
    ended = perform(contract.attempt_at(job), StopRequest())
    assert (ended.how, ended.reason) == ("refused", "no GPU")
    assert Store(job.results).load(job.cell) is None


def test_three_refusals_end_the_run(job: Job, make: Make) -> None:
    jobs = contract.cells(job, ["refuse", "refuse", "ok"])
    with pytest.raises(BarbenchError, match=r"^no host can run the cells: no GPU$"):
        contract.run(jobs, make(1))
    assert RunFolder.all(job.results) == []


def test_a_cell_that_is_alive_elsewhere_is_not_begun(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    contract.fake(monkeypatch)
    monkeypatch.setattr("barbench.benchmarks.execution.attempt.LEASE_SECONDS", 0.5)
    [job] = contract.cells(job, ["ok"])
    other = lease_on(job.lease)
    other.acquire()
    ended = perform(contract.attempt_at(job), StopRequest())
    assert (ended.how, ended.reason) == ("lost", "another attempt at this cell is alive")
    assert not (job.scratch / "tries").exists()
    other.release()
    assert perform(contract.attempt_at(job), StopRequest()).how == "done"


def test_a_holder_whose_lease_was_taken_publishes_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that was frozen for a minute finds out: its marker is another's."""
    contract.fake(monkeypatch)
    for name, value in (("LEASE_SECONDS", 0.6), ("BEAT_SECONDS", 0.1)):
        monkeypatch.setattr(f"barbench.benchmarks.execution.host.lock.{name}", value)
    [job] = contract.cells(job, ["wait"])
    taken = threading.Thread(target=lambda: (_wait_for(job.scratch / "tries"), job.lease.unlink()))
    taken.start()
    ended = perform(contract.attempt_at(job), StopRequest())
    taken.join()
    assert (ended.how, ended.reason) == ("lost", "another attempt took the cell over")
    assert Store(job.results).load(job.cell) is None


def _wait_for(path: Path) -> None:
    limit = time.monotonic() + 60
    while not path.exists() and time.monotonic() < limit:
        time.sleep(0.02)
