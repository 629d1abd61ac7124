"""Slurm's own ways, against stand-ins for its commands: what is asked of it, time limits, preemption, adoption."""

import json
import pickle
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from barbench.benchmarks.execution.executors import slurm
from barbench.benchmarks.execution.executors.local import Local
from barbench.benchmarks.execution.executors.slurm import Slurm, Task
from barbench.benchmarks.execution.run import run_jobs
from barbench.benchmarks.execution.run_folder import RunFolder
from barbench.benchmarks.execution.status import CellState, find_run, look, runs, stop
from barbench.benchmarks.job import Job
from barbench.errors import UsageError
from barbench.results.record import AttemptLog
from barbench.results.store import Store
from barbench.spec.cluster import Cluster
from tests.benchmarks.conftest import MakeJobs, Told
from tests.benchmarks.execution.executors import contract, fake_slurm
from tests.results.test_store import record

pytest.importorskip("submitit")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the stand-in keeps its jobs."""
    contract.fake(monkeypatch, tmp_path / "hook")
    fake_slurm.install(tmp_path / "slurm", monkeypatch)
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.5)
    return tmp_path / "slurm"


@pytest.fixture
def job(make_jobs: MakeJobs, tmp_path: Path) -> Job:
    return make_jobs(tmp_path / "results")[0]


def under_way(job: Job) -> dict[str, CellState]:
    """The cells of the runs that are not complete, by their stems."""
    found: dict[str, CellState] = {}
    for state in runs(job.results):
        if not state.is_complete:
            found |= state.cells
    return found


def wait(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.1)


def test_what_sbatch_is_asked_for(folder: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """One array for all cells; the jobs themselves are not begun."""
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
    (folder / "bin" / "sbatch").write_text(f'#!/bin/sh\ncp "$1" {folder}/batch\necho Submitted batch job 7\n')
    cluster = Cluster.read("partition=gpu,account=vision,minutes=90,cpus=8,memory_gb=1.5,signal_before=240")
    cluster = cluster.model_copy(update={"setup": ("module load cuda",), "extra": {"mail_type": "FAIL"}})
    jobs = contract.cells(job, ["ok"] * 3)
    run_jobs(jobs, job.results, Told(), executor=Slurm(cluster, gpus=2, cells_at_once=2), detach=True)
    text = (folder / "batch").read_text()
    for line in (
        "--array=0-2%2", "--partition=gpu", "--account=vision", "--time=90", "--cpus-per-task=8", "--mem=1536M",
        "--gpus-per-node=2", "--signal=USR2@240", "--requeue", "--mail-type=FAIL", "--nodes=1",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in text, line
    assert "\nmodule load cuda\n" in text
    [run] = RunFolder.all(job.results)
    assert [run.handles[j.cell.id()] for j in jobs] == [{"job": f"7_{i}", "number": 1} for i in range(3)]


def test_what_slurm_refuses_is_one_line(folder: Path, job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"^sbatch refuses the cells: .*invalid partition .*: nowhere$") as error:
        contract.run(contract.cells(job, ["ok"]), Slurm(Cluster(partition="nowhere"), 0))
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == "", "the command itself prints the error"
    assert RunFolder.all(job.results) == []


def test_what_slurm_takes_but_would_never_begin(folder: Path, job: Job) -> None:
    """Unless it enforces the limits of partitions, such a job waits for ever."""
    with pytest.raises(UsageError, match=r"^Slurm would never begin such a cell \(PartitionConfig\); sinfo shows what"):
        contract.run(contract.cells(job, ["ok"] * 2), Slurm(Cluster(cpus=65), 0))
    wait(lambda: {j["state"] for j in fake_slurm.jobs(folder).values()} == {"CANCELLED"})
    assert RunFolder.all(job.results) == []


def test_a_time_limit_shorter_than_the_start(job: Job) -> None:
    """Stopped twice before its first step, the cell fails instead of queueing for ever."""
    [job] = contract.cells(job, ["ok"])
    attempt = contract.attempt_at(job)
    log = AttemptLog(number=1, executor="slurm", host="0" * 8, how="stopped")
    for logs, stuck in (
        ((), False),
        ((log,), False),
        ((log, log), True),
        ((log, log.model_copy(update={"steps": (1, 9)})), False),
    ):
        job.write_attempts(logs)
        assert (slurm.why_stuck(attempt) is not None) is stuck


def test_a_cell_that_evaluates_is_not_stopped_before_its_first_step(job: Job) -> None:
    """All steps were done by its first attempt; what it scores is kept, so that each attempt comes further."""
    [job] = contract.cells(job, ["ok"])
    attempt = contract.attempt_at(job)
    idle = AttemptLog(number=1, executor="slurm", host="0" * 8, how="stopped")
    trained = idle.model_copy(update={"steps": (1, 51)})
    scored = idle.model_copy(update={"scored": 320})
    lost = idle.model_copy(update={"how": "lost"})
    for logs, reason in (
        ((trained, idle, idle), None),
        ((trained, idle, idle, idle), None),
        ((trained, idle, idle, idle, idle), "before another step or score"),
        ((trained, idle, idle, scored, idle, idle), None),
        ((trained, scored, scored, scored), None),
        ((idle, idle), "before its first step"),
        ((lost, idle, idle), "before its first step"),
    ):
        job.write_attempts(logs)
        found = slurm.why_stuck(attempt)
        assert found is None if reason is None else found is not None and reason in found


def test_a_task_is_text_alone(job: Job) -> None:
    task = Task('{"job": 1}')
    assert pickle.loads(pickle.dumps(task)).attempt == task.attempt
    assert vars(task) == {"attempt": '{"job": 1}'}


def test_a_controller_that_does_not_answer_loses_no_cell(folder: Path) -> None:
    (folder / "bin" / "squeue").write_text("#!/bin/sh\necho slurm_load_jobs error: Socket timed out >&2\nexit 1\n")
    assert slurm.squeue(["7_0"]) is None
    (folder / "bin" / "squeue").write_text(
        "#!/bin/sh\necho slurm_load_jobs error: Invalid job id specified >&2\nexit 1\n"
    )
    assert slurm.squeue(["7_0"]) == {}


CELL = "710e50b0bf11"
STEM = f"snf--tiny--refcoco--seed0--{CELL}"


@pytest.fixture
def detached(folder: Path, tmp_path: Path) -> RunFolder:
    """A run whose one cell has job 7 and began."""
    run = RunFolder.make(tmp_path / "results", "slurm", {CELL: STEM}, "code")
    run.folder(CELL).mkdir()
    run.keep_handles({CELL: {"job": "7", "number": 1}})
    run.events(CELL).add({"event": "attempt", "number": 1, "host": "a"})
    return run


def queue(folder: Path, *lines: str) -> None:
    """What squeue says from now on."""
    (folder / "bin" / "squeue").write_text("#!/bin/sh\n" + "".join(f"echo {line}\n" for line in lines))


def end(run: RunFolder, how: str, number: int = 1) -> None:
    run.events(CELL).add({"event": "ended", "how": how, "reason": "", "number": number})


def adopted(run: RunFolder) -> dict[str, int]:
    """What another process that leads the run finds."""
    engine = Slurm(Cluster(), 0)
    engine.start(RunFolder(run.path), -1)
    return engine.adopt()


def test_the_job_after_a_cancelled_one_is_adopted(detached: RunFolder, folder: Path) -> None:
    """Also where it has the number of the cancelled one, as earlier versions gave it, and before it has begun."""
    end(detached, "stopped")
    queue(folder, "7 RUNNING")
    assert adopted(detached) == {}, "job 7 reported its end and is about to leave the queue"
    detached.keep_handles({CELL: {"job": "8", "number": 2}})
    queue(folder, "7 CANCELLED", "8 PENDING")
    assert adopted(detached) == {CELL: 2}
    detached.events(CELL).add({"event": "attempt", "number": 2, "host": "a"})
    queue(folder, "8 RUNNING")
    assert adopted(detached) == {CELL: 2}
    detached.keep_handles({CELL: {"job": "8", "number": 1}})
    assert adopted(detached) == {CELL: 1}


def test_a_run_of_an_earlier_version_is_adopted(detached: RunFolder, folder: Path) -> None:
    """Its events said why an attempt ended under another name."""
    detached.events(CELL).add({"event": "ended", "how": "stopped", "said": "it was asked to stop", "number": 1})
    detached.events(CELL).add({"event": "attempt", "number": 2, "host": "a"})
    queue(folder, "7 RUNNING")
    assert adopted(detached) == {CELL: 1}


def test_numbers_of_attempts_rise_over_all_commands(detached: RunFolder) -> None:
    assert detached.last_number(CELL) == 1
    end(detached, "stopped", number=3)
    assert RunFolder(detached.path).last_number(CELL) == 3
    assert detached.last_number("0a0a") == 0


def test_the_end_of_an_earlier_job_does_not_end_the_next(detached: RunFolder, folder: Path) -> None:
    detached.keep_handles({CELL: {"job": "8", "number": 2}})
    queue(folder, "8 RUNNING")
    engine = Slurm(Cluster(), 0)
    engine.start(detached, -1)
    assert engine.adopt() == {CELL: 2}
    end(detached, "lost", number=1)
    engine.poll(0.0)
    assert engine.alive() == {CELL}
    end(detached, "done", number=2)
    engine.poll(0.0)
    assert engine.alive() == set()


@pytest.mark.parametrize(
    ("line", "state", "over"),
    [
        ("7 PENDING", "waiting", False),
        ("7 SPECIAL_EXIT", "waiting", False),
        ("7 RUNNING", "running", False),
        ("7 STOPPED", "running", False),
        ("7 TIMEOUT", "lost", True),
        ("", "lost", True),
        ("slurm_load_jobs error: timed out >&2; exit 1", "running", False),
    ],
)
def test_a_run_is_over_where_no_job_is_left(
    line: str, state: str, over: bool, detached: RunFolder, folder: Path
) -> None:
    queue(folder, line)
    found = look(detached)
    assert found.cells[STEM].state == state
    assert found.is_over is over


@pytest.mark.parametrize("how", ["done", "lost"])
def test_a_detached_run_that_is_over_is_no_obstacle(how: str, folder: Path, job: Job) -> None:
    """It is neither watched for ever nor in the way of a run on this host."""
    [only] = contract.cells(job, ["ok"])
    cell = only.cell.id()
    run = RunFolder.make(job.results, "slurm", {cell: only.cell.stem()}, "code")
    run.folder(cell).mkdir()
    run.keep_handles({cell: {"job": "22", "number": 1}})
    run.events(cell).add({"event": "attempt", "number": 1, "host": "0"})
    if how == "done":
        Store(job.results).save(record(only.cell))
        run.events(cell).add({"event": "ended", "how": "done", "reason": "", "number": 1})
    queue(folder, "22 COMPLETED")
    assert [cell.state for cell in under_way(job).values()] == ([] if how == "done" else ["lost"])
    assert [found.is_over for found in runs(job.results)] == [True]
    assert [each.status for each in contract.run([only], Local())] == ["done"]
    assert RunFolder.all(job.results) == []


def test_a_run_that_ended_before_it_submitted_is_no_obstacle(folder: Path, job: Job) -> None:
    [only] = contract.cells(job, ["ok"])
    run = RunFolder.make(job.results, "slurm", {only.cell.id(): only.cell.stem()}, "code")
    queue(folder)
    run.fields["process"] = 2**31 - 1
    assert look(run).cells[only.cell.stem()].state == "orphaned"
    assert [each.status for each in contract.run([only], Local())] == ["done"]


def test_a_run_whose_job_runs_is_an_obstacle(detached: RunFolder, folder: Path, job: Job) -> None:
    [only] = contract.cells(job, ["ok"])
    detached.take_over({only.cell.id(): only.cell.stem()})
    queue(folder, "7 RUNNING")
    with pytest.raises(UsageError, match=r"run .* \(slurm\) has some of these cells: barbench stop .* ends it"):
        contract.run([only], Local())


def test_a_run_is_not_removed_while_the_queue_does_not_answer(detached: RunFolder, folder: Path) -> None:
    queue(folder, "slurm_load_jobs error: timed out >&2; exit 1")
    detached.fields["process"] = 2**31 - 1
    with pytest.raises(UsageError, match="the queue of slurm does not answer; give the command again later"):
        stop(detached, [])
    assert detached.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM], ids=["time-limit", "preemption"])
def test_a_job_whose_time_is_over_queues_again(number: signal.Signals, folder: Path, job: Job) -> None:
    [only] = contract.cells(job, ["wait"])
    sent: list[str] = []

    class Sending(Told):
        def event(self, job: Job, event: dict[str, object]) -> None:
            super().event(job, event)
            if event["event"] == "step" and not sent:
                sent.extend(fake_slurm.jobs(folder))
                fake_slurm.flag(folder, sent[0], "signal", int(number))

    told = Sending()
    [record] = contract.run([only], Slurm(Cluster(cpus=1), 0), told=told)
    assert record.status == "done"
    assert [log.how for log in record.attempts] == ["stopped", "lost"], "the second was under way when it was written"
    assert "its time was over; it is requeued" in told.notes
    assert "scontrol requeue" in (folder / "calls.log").read_text()
    assert (folder / "calls.log").read_text().count("\nsbatch ") <= 1, "one submission"


@pytest.mark.slow
def test_a_cancelled_job_does_not_queue_again(folder: Path, job: Job) -> None:
    [only] = contract.cells(job, ["wait"])

    class Cancelling(Told):
        def event(self, job: Job, event: dict[str, object]) -> None:
            super().event(job, event)
            if event["event"] == "step":
                for name in fake_slurm.jobs(folder):
                    fake_slurm.flag(folder, name, "cancel")

    told = Cancelling()
    assert contract.run([only], Slurm(Cluster(cpus=1), 0), told=told) == []
    assert only.checkpoint.exists()
    assert "scontrol requeue" not in (folder / "calls.log").read_text()


@pytest.mark.slow
def test_a_detached_run_is_adopted_and_nothing_runs_twice(folder: Path, job: Job) -> None:
    jobs = contract.cells(job, ["ok", "wait", "ok"])
    engine = Slurm(Cluster(cpus=1), 0, cells_at_once=1)
    assert run_jobs(jobs, job.results, Told(), executor=engine, detach=True) == []
    wait(lambda: (jobs[1].scratch / "tries").exists())
    rows = {stem: cell.state for stem, cell in under_way(job).items()}
    assert rows == {jobs[0].cell.stem(): "done", jobs[1].cell.stem(): "running", jobs[2].cell.stem(): "waiting"}
    (name,) = (n for n, j in fake_slurm.jobs(folder).items() if j["state"] == "RUNNING")
    fake_slurm.flag(folder, name, "signal", int(signal.SIGUSR2))
    records = contract.run(jobs, Slurm(Cluster(cpus=1), 0, cells_at_once=1))
    assert [r.status for r in records] == ["done"] * 3
    assert [len(contract.tries(j)) for j in jobs] == [1, 2, 1]
    assert len((folder / "sbatch.log").read_text().splitlines()) == 1
    assert json.loads((folder / "sbatch.log").read_text())["array"] == "0-2%1"


@pytest.mark.slow
def test_a_detached_run_is_stopped_from_elsewhere(folder: Path, job: Job) -> None:
    jobs = contract.cells(job, ["wait", "ok"])
    run_jobs(jobs, job.results, Told(), executor=Slurm(Cluster(cpus=1), 0, cells_at_once=1), detach=True)
    wait(lambda: (jobs[0].scratch / "tries").exists())
    assert "asked to stop" in stop(find_run(job.results, None), [])
    wait(lambda: all(j["state"] in fake_slurm.FINAL for j in fake_slurm.jobs(folder).values()))
    assert jobs[0].checkpoint.exists()
    assert Store(job.results).all() == []
    assert [r.status for r in contract.run(jobs, Slurm(Cluster(cpus=1), 0))] == ["done", "done"]
