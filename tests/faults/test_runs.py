"""Real runs under what happens to them: asked to stop, started twice, out of disk, a file deleted meanwhile."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from barbench.benchmarks.execution.run import run_jobs
from barbench.benchmarks.execution.run_folder import RunFolder
from barbench.benchmarks.job import Job
from barbench.files import host_id
from barbench.results.store import Store
from tests.benchmarks.conftest import MakeJobs, Told
from tests.benchmarks.conftest import make_jobs as make_jobs
from tests.faults.kill_harness import measured

REPOSITORY = Path(__file__).parents[2]
LONG = 30  # epochs of a run that is still under way when it hears of a signal
BUSY = 30.0  # seconds more where other tests have the cores; the runner ends its worker by force after GRACE anyway
# A run of jobs as a command: `run` of the command line without its arguments.
SCRIPT = """
import sys
from pathlib import Path
from barbench import cli
from barbench.commands import run
from barbench.benchmarks.job import Job
from barbench.benchmarks.execution.run import run_jobs
from barbench.benchmarks.execution.worker.signals import interruptible
from tests.faults.matrix import Events

jobs = [Job.model_validate_json(line) for line in Path(sys.argv.pop(1)).read_text().splitlines()]

def with_signals(*_):
    with interruptible():
        return run_jobs(jobs, jobs[0].results, Events()), 0


run._run = with_signals
sys.argv[1:] = ["run", "--results", str(jobs[0].results), "--reports", str(jobs[0].results.parent / "reports")]
cli.main()
"""


class Run:
    """A run in a process, watched by the events that it prints."""

    def __init__(self, folder: Path, jobs: list[Job]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "jobs").write_text("\n".join(job.model_dump_json() for job in jobs))
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder / "jobs")],
            cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # A shell has its background jobs ignore SIGINT, and what they start inherits that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def until(self, kind: str, number: int = 1) -> None:
        """Read on to the `number`-th event of a kind."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{") and json.loads(line)["event"] == kind:
                number -= 1
                if number == 0:
                    return
        raise AssertionError(f"it ended without: {self.process.stderr.read() if self.process.stderr else ''}")

    def end(self) -> tuple[int, str]:
        """Exit code and standard error."""
        _, errors = self.process.communicate(timeout=300)
        return self.process.returncode, errors


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """`folder` on a file system of its own; skipped where this user may not mount one."""
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def left(results: Path) -> set[str]:
    """Names of files that no finished or interrupted run should leave."""
    return {p.name for p in results.rglob("*") if p.name.endswith(".tmp") or p.name in (".runs", ".lease")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)], ids=["TERM", "INT", "HUP"]
)
def test_asked_to_stop_it_keeps_a_checkpoint_and_goes_on_exactly(
    sign: signal.Signals, code: int, make_jobs: MakeJobs, tmp_path: Path
) -> None:
    calm = tmp_path / "calm"
    expected = run_jobs(make_jobs(calm, epochs=LONG, batch=8), calm, Told())[0]
    [job] = jobs = [j.at(checkpoint_seconds=1e9) for j in make_jobs(tmp_path / "r", epochs=LONG, batch=8)]
    run = Run(tmp_path, jobs)
    run.until("step", 3)
    run.process.send_signal(sign)
    begun = time.monotonic()
    ended, errors = run.end()
    assert time.monotonic() - begun < 10 + BUSY
    assert ended == code
    assert errors.strip() == "error: interrupted; run the same command to resume"
    assert job.checkpoint.exists(), "no epoch's end, no clock: it was written for the signal"
    assert Store(job.results).load(job.cell) is None
    assert left(job.results) == set()
    told = Told()
    found = run_jobs([job], job.results, told)[0]
    first = next(e for e in told.events if e["event"] == "step")
    assert (first["epoch"] - 1) * first["steps"] + first["step"] > 3
    assert measured(found) == measured(expected)


@pytest.mark.slow
def test_asked_to_stop_while_two_processes_share_the_cell(make_jobs: MakeJobs, tmp_path: Path) -> None:
    [alone] = make_jobs(tmp_path / "r", epochs=5_000, batch=8)
    job = alone.at(checkpoint_seconds=1e9).model_copy(update={"cell": alone.cell.model_copy(update={"processes": 2})})
    run = Run(tmp_path, [job])
    run.until("step", 7)
    run.process.send_signal(signal.SIGTERM)
    assert run.end()[0] == 143
    assert job.checkpoint.exists()
    run = Run(tmp_path, [job])
    run.until("step")
    run.process.send_signal(signal.SIGTERM)
    assert run.end()[0] == 143


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGUSR2, signal.SIGTERM], ids=["USR2", "TERM"])
def test_two_processes_that_are_stopped_from_outside(sign: signal.Signals, make_jobs: MakeJobs, tmp_path: Path) -> None:
    """As a batch system does it: the launcher hears the signal, and nobody told the runner."""
    [alone] = make_jobs(tmp_path / "r", epochs=5_000, batch=8)
    job = alone.at(checkpoint_seconds=1e9).model_copy(update={"cell": alone.cell.model_copy(update={"processes": 2})})
    run = Run(tmp_path, [job])
    run.until("step", 7)
    [launcher] = psutil.Process(run.process.pid).children()
    ranks = launcher.children()
    assert len(ranks) == 2
    launcher.send_signal(sign)
    assert run.end()[0] == 1
    _, alive = psutil.wait_procs([launcher, *ranks], timeout=1)
    assert not alive
    assert job.checkpoint.exists()
    [record] = Store(job.results).all()
    assert record.reason == "the process was asked to stop; it resumes from its checkpoint"


@pytest.mark.slow
def test_two_runs_on_one_folder(make_jobs: MakeJobs, tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path / "r", epochs=5_000)  # it is still running when the second has started
    first = Run(tmp_path / "1", jobs)
    first.until("step")
    second = Run(tmp_path / "2", jobs)
    code, errors = second.end()
    assert code == 2
    assert f"another barbench run (process {first.process.pid}) is using {tmp_path / 'r'}; wait for it" in errors
    first.process.kill()
    first.process.wait()
    third = Run(tmp_path / "3", jobs)  # the killed run's worker may live for a moment: it is waited for
    third.until("step")
    third.process.terminate()
    assert third.end()[0] == 143


def test_two_runs_with_one_seed_leave_the_same_record(make_jobs: MakeJobs, tmp_path: Path) -> None:
    """Two workers, one with a loading process: scores, losses, each expression's counts and weights, bit for bit."""
    outcomes = []
    for name, loading in (("a", 0), ("b", 1)):
        [made] = make_jobs(tmp_path / name, "barleria", epochs=1, batch=8)
        job = made.at(workers=loading)
        [record] = run_jobs([job], job.results, Told())
        assert record.status == "done", record.reason
        arrays = Store(job.results).path(job.cell).with_suffix(".npz").read_bytes()
        outcomes.append((measured(record), arrays, job.tuned.read_bytes()))
    assert outcomes[0] == outcomes[1]


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_costs_nothing(make_jobs: MakeJobs, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "8m"):
        jobs = make_jobs(disk / "r", "head-only,snf", epochs=3, batch=8)
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 7_500_000)
        code, errors = Run(tmp_path, jobs).end()
        assert code == 1
        assert f"error: cannot write to {disk / 'r'}: No space left on device. Finished cells are kept" in errors
        assert "Traceback" not in errors
        assert left(disk / "r") == set()
        assert Store(disk / "r").all() == []
        ballast.unlink()
        shutil.rmtree(disk / "lost+found", ignore_errors=True)
        records = run_jobs(jobs, disk / "r", Told())
    assert [r.status for r in records] == ["done", "done"]
    expected = run_jobs(make_jobs(tmp_path / "calm", "head-only,snf", epochs=3, batch=8), tmp_path / "calm", Told())
    assert [measured(r) for r in records] == [measured(r) for r in expected]


def test_a_read_only_folder(make_jobs: MakeJobs, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "1m"):
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        code, errors = Run(tmp_path, make_jobs(disk / "r")).end()
    assert code == 2
    assert errors.strip() == f"error: cannot write to the results folder {disk / 'r'}: Read-only file system"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_deleted_meanwhile(
    workers: int, make_jobs: MakeJobs, shapes_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, calm = tmp_path / "data", tmp_path / "calm"
    shutil.copytree(shapes_root, root)
    expected = run_jobs(make_jobs(calm, root=root, epochs=6, batch=8), calm, Told())[0]
    jobs = [j.at(workers=workers) for j in make_jobs(tmp_path / "r", root=root, epochs=6, batch=8)]
    run = Run(tmp_path, jobs)
    run.until("step", 2)
    (root / "images").rename(root / "gone")
    code, _ = run.end()
    assert code == 1
    [record] = Store(tmp_path / "r").all()
    assert record.status == "failed"
    assert str(record.reason).endswith(".jpg cannot be read: No such file or directory")
    assert "Traceback" not in str(record.reason)
    assert run_jobs(jobs, jobs[0].results, Told())[0].status == "failed", "still gone"
    (root / "gone").rename(root / "images")
    assert measured(run_jobs(jobs, jobs[0].results, Told())[0]) == measured(expected)


def test_what_killed_runs_left_is_removed(make_jobs: MakeJobs, tmp_path: Path) -> None:
    [job] = make_jobs(tmp_path)
    with subprocess.Popen(["true"]) as dead:
        pass
    mine, theirs = f"{host_id()}-{dead.pid}-0123abcd", f"00000000-{dead.pid}-0123abcd"
    job.scratch.mkdir(parents=True)
    for mark in (mine, theirs):
        for stray in (tmp_path / f".a.json.{mark}.tmp", job.scratch / f".checkpoint.pt.{mark}.tmp"):
            stray.write_bytes(b"half")
    RunFolder.make(tmp_path, "local", {"0": "of a run that was killed"}, "")
    assert run_jobs([], tmp_path, Told()) == []
    kept = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert len(kept) == 3
    assert all(name == ".lock" or theirs in name for name in kept), "another host's workers may be alive"
    assert os.path.exists(job.scratch)
