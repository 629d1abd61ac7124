"""The runner with real worker processes: failures become records, finished cells stay, killed ones go on exactly."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file

from barbench.benchmarks.execution import attempt
from barbench.benchmarks.execution.executors.local import Local
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.run import run_jobs
from barbench.benchmarks.execution.worker import process
from barbench.benchmarks.job import Job
from barbench.errors import UsageError
from barbench.results.record import Record, Scores, SplitResult
from barbench.results.store import Store
from tests.benchmarks.conftest import MakeJobs, Told

REPOSITORY = Path(__file__).parents[3]
MODULE = "own_methods_of_a_user"


def own_code(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Workers run `code`, which finds its job in the file `path`."""

    def command(job: Job, path: Path) -> list[str]:
        return [sys.executable, "-c", f"from pathlib import Path; path = Path({str(path)!r})\n{code}"]

    monkeypatch.setattr(process, "_command", command)


def not_really_run(job: Job, monkeypatch: pytest.MonkeyPatch) -> Record:
    """The record that is all an attempt at the cell leaves."""
    failure = job.failure("failed", "not really run")

    def fail(self: attempt._Attempt, job: Job) -> Any:
        self.store.save(failure)
        return self.ended("failed")

    monkeypatch.setattr(attempt._Attempt, "_run_one", fail)
    return failure


class Ran(NamedTuple):
    results: Path
    jobs: list[Job]
    told: Told
    records: list[Record]


@pytest.fixture(scope="module")
def ran(make_jobs: MakeJobs, own_methods: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One matrix: a user's method that fails, a user's method that works, a built-in one."""
    results, told = tmp_path_factory.mktemp("run") / "results", Told()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(own_methods)
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setattr(sys, "path", list(sys.path))
        jobs = make_jobs(results, f"{MODULE}:broken,{MODULE}:scale,head-only")
        return Ran(results, jobs, told, run_jobs(jobs, results, told))


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in found}


def measured(record: Record) -> dict[str, Any]:
    """What must not depend on when and how often a cell was run."""
    fields = record.model_dump(mode="json", include={"id", "cell", "ledger", "status", "splits", "composition"})
    return fields | {"history": [(h.epoch, h.loss, h.lr, h.steps) for h in record.history]}


@pytest.mark.slow
def test_a_cell_that_fails_is_a_record_and_the_rest_goes_on(ran: Ran) -> None:
    broken, *rest = ran.records
    assert broken.status == "failed"
    assert broken.reason == "ArithmeticError: the broken method was walked"
    assert [r.status for r in rest] == ["done", "done"]
    assert Store(ran.results).load(ran.jobs[0].cell) == broken
    assert "broken method was walked" in (ran.jobs[0].scratch / "traceback.txt").read_text()
    assert ran.told.ended == ran.records
    assert ran.told.begun == [([f"{MODULE}:broken", f"{MODULE}:scale", "head-only"], 0)]


@pytest.mark.slow
def test_a_method_from_outside_runs_like_a_built_in_one(ran: Ran) -> None:
    _, own, built_in = ran.records
    assert own.cell.method == f"{MODULE}:scale"
    assert (own.title, own.composition) == ("scale", ("Scale",))
    assert own.ledger == built_in.ledger | {"adapter": 1, "own": 1}
    assert own.splits.keys() == built_in.splits.keys() == {"val"}
    assert own.splits["val"].scores.n == built_in.splits["val"].scores.n


@pytest.mark.slow
def test_a_record_is_complete(ran: Ran) -> None:
    record = ran.records[2]
    assert record.profile is not None
    assert min(record.profile.flops_forward, record.profile.saved_bytes, record.profile.peak_memory_bytes) > 0
    assert record.profile.train_images_per_s
    assert record.timings.keys() == {"loading", "profiling", "training", "evaluating", "total"}
    assert record.splits["val"].control is not None
    assert record.splits["val"].leaks
    assert record.splits["val"].column == "val(g)"
    assert {"python", "packages", "device", "threads"} <= record.environment.keys()
    columns = Store(ran.results).expressions(record.cell)
    ratio = columns["val/intersection"] / np.maximum(columns["val/union"], 1)
    assert record.splits["val"].scores.miou == pytest.approx(ratio.mean())
    assert record.splits["val"].scores.n == len(ratio)
    weights = load_file(ran.jobs[2].tuned)
    trained = sum(v.size for name, v in weights.items() if "running" not in name and "batches" not in name)
    assert trained == record.ledger["head"]
    assert not ran.jobs[2].checkpoint.exists()
    text = Store(ran.results).path(record.cell).read_text()
    assert str(ran.results) not in text
    steps = [e for e in ran.told.events if e["event"] == "step"]
    assert {e["epochs"] for e in steps} == {1}
    assert {"loss", "iou", "lr", "step", "steps", "epoch"} <= steps[0].keys()


@pytest.mark.slow
def test_finished_cells_are_skipped_and_no_byte_changes(
    ran: Ran, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(attempt._Attempt, "_run_one", lambda *_: pytest.fail("a finished cell was run again"))
    before, told = files(ran.results), Told()
    records = run_jobs(ran.jobs[1:], ran.results, told)
    assert records == ran.records[1:]
    assert told.begun == [([], 2)]
    assert files(ran.results) == before


@pytest.mark.slow
def test_a_failed_cell_is_tried_again(
    ran: Ran, monkeypatch: pytest.MonkeyPatch, own_methods: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    shutil.copytree(ran.results, results)
    job, told = ran.jobs[0].at(results=results), Told()
    monkeypatch.setattr(process, "WORKER", "no.such.module")
    record = run_jobs([job], results, told)[0]
    assert told.begun == [([f"{MODULE}:broken"], 0)]
    assert record.status == "failed"
    assert "ended with code 1" in str(record.reason)
    assert "no.such" in str(record.reason) or "No module named" in str(record.reason)


@pytest.mark.slow
def test_killed_in_the_middle_and_run_again_gives_the_same(make_jobs: MakeJobs, tmp_path: Path) -> None:
    """The whole runner is killed (-9) once a checkpoint exists, within an epoch; its worker must end with it."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    expected = run_jobs(make_jobs(calm, epochs=8, batch=8), calm, Told())[0]
    job = make_jobs(killed, epochs=8, batch=8)[0]
    (tmp_path / "job.json").write_text(job.model_dump_json())
    script = (
        "import sys; from pathlib import Path; from barbench.benchmarks.job import Job; "
        "from barbench.benchmarks.execution.run import run_jobs; from tests.benchmarks.conftest import Told; "
        "job = Job.model_validate_json(Path(sys.argv[1]).read_text()); run_jobs([job], job.results, Told())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "job.json")]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 300
    while not job.checkpoint.exists() and time.monotonic() < limit and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(2)
    left = job.checkpoint.read_bytes()
    time.sleep(3)  # a worker that went on would write a checkpoint each step
    assert job.checkpoint.read_bytes() == left
    assert Store(killed).load(job.cell) is None
    told = Told()
    found = run_jobs([job], killed, told)[0]
    first = next(e for e in told.events if e["event"] == "step")
    assert (first["epoch"], first["step"]) > (1, 1), "it started over"
    assert measured(found) == measured(expected)
    assert found.profile is not None
    mine, theirs = (load_file(j.tuned) for j in (job, make_jobs(calm, epochs=8, batch=8)[0]))
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    tables = [Store(folder).expressions(job.cell) for folder in (calm, killed)]
    assert all(np.array_equal(tables[0][name], tables[1][name]) for name in tables[0])
    assert not job.checkpoint.exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["head-only", "barleria"])
def test_two_processes_share_a_cell(method: str, make_jobs: MakeJobs, tmp_path: Path) -> None:
    """Batch norms see half a batch each, so the numbers differ; what was counted must not."""
    alone, told = make_jobs(tmp_path, method)[0], Told()
    together = alone.model_copy(update={"cell": alone.cell.model_copy(update={"processes": 2})})
    one, two = run_jobs([alone, together], tmp_path, told)
    assert (one.status, two.status) == ("done", "done"), two.reason
    assert two.ledger == one.ledger
    assert two.splits["val"].scores.n == one.splits["val"].scores.n
    assert [h.steps for h in two.history] == [h.steps for h in one.history]
    assert two.history[0].loss == pytest.approx(one.history[0].loss, rel=0.2)
    tables = [Store(tmp_path).expressions(r.cell) for r in (one, two)]
    for name in ("val/sent_id", "val/ref_id", "val/area"):
        assert np.array_equal(tables[0][name], tables[1][name])
    steps = [e for e in told.events if e["event"] == "step"]
    assert len(steps) == one.history[0].steps + two.history[0].steps, "one process speaks"


def test_a_damaged_checkpoint_is_set_aside_and_the_cell_starts_over(make_jobs: MakeJobs, tmp_path: Path) -> None:
    job, told = make_jobs(tmp_path)[0], Told()
    job.scratch.mkdir(parents=True)
    job.checkpoint.write_text("damaged")
    record = run_jobs([job], tmp_path, told)[0]
    assert record.status == "done"
    assert job.checkpoint.with_name("checkpoint.pt.corrupt-1").read_text() == "damaged"
    assert any("checkpoint.pt.corrupt-1" in note for note in told.notes)
    first = next(e for e in told.events if e["event"] == "step")
    assert (first["epoch"], first["step"]) == (1, 1)


def test_a_damaged_record_is_named_set_aside_and_run_again(
    make_jobs: MakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, told = make_jobs(tmp_path)[0], Told()
    path = Store(tmp_path).path(job.cell)
    path.write_text('{"schema_version": 1, "id"')
    failure = not_really_run(job, monkeypatch)
    assert run_jobs([job], tmp_path, told) == [failure]
    assert path.with_name(f"{path.name}.corrupt-1").read_text() == '{"schema_version": 1, "id"'
    assert len(told.notes) == 1
    assert path.name in told.notes[0]
    assert told.started == [job.cell.method]


def test_a_damaged_run_is_set_aside_by_the_next(make_jobs: MakeJobs, tmp_path: Path) -> None:
    file = tmp_path / ".runs" / "1128-101500-3fa2" / "run.json"
    file.parent.mkdir(parents=True)
    file.touch()
    told = Told()
    assert run_jobs([], tmp_path, told) == []
    assert told.notes == [f"{file} cannot be used (it is empty); it is now run.json.corrupt-1"]
    assert [path.name for path in file.parent.iterdir()] == ["run.json.corrupt-1"]
    assert run_jobs([], tmp_path, told) == []
    assert len(told.notes) == 1


def test_a_record_of_a_newer_barbench_is_not_trained_again(make_jobs: MakeJobs, tmp_path: Path) -> None:
    job = make_jobs(tmp_path)[0]
    path = Store(tmp_path).path(job.cell)
    path.write_text('{"schema_version": 3}')
    with pytest.raises(UsageError, match="schema version 3 is of a newer barbench"):
        run_jobs([job], tmp_path, Told())
    assert path.read_text() == '{"schema_version": 3}'


def test_a_record_with_damaged_arrays_is_run_again(
    make_jobs: MakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, told = make_jobs(tmp_path)[0], Told()
    store = Store(tmp_path)
    scores = Scores(miou=0.5, n=4)
    splits = {"val": SplitResult(scores=scores, column="val", images=2, references=2)}
    fields = job.failure("failed", "no").model_dump() | {"status": "done", "reason": None, "splits": splits}
    store.save(Record.model_validate(fields), {"val/iou": np.zeros(4)})
    store.arrays(job.cell).write_bytes(b"PK")
    failure = not_really_run(job, monkeypatch)
    assert run_jobs([job], tmp_path, told) == [failure]
    assert "is damaged: it is not the file that the record was saved with" in told.notes[0]


@pytest.mark.parametrize("content", ["", "[", '[{"number": "one"}]'])
def test_a_damaged_log_of_attempts_ends_no_cell(content: str, make_jobs: MakeJobs, tmp_path: Path) -> None:
    job = make_jobs(tmp_path)[0]
    job.scratch.mkdir(parents=True)
    job.attempts_file.write_text(content)
    assert job.read_attempts() == ()


def test_two_runs_do_not_share_a_results_folder(make_jobs: MakeJobs, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write(f"{os.getpid()}\n")
        held.flush()
        with pytest.raises(
            UsageError, match=rf"run \(process {os.getpid()}\) is using .*; wait for it, or give --results"
        ):
            run_jobs(make_jobs(tmp_path), tmp_path, Told())
    assert run_jobs([], tmp_path, Told()) == []


def test_a_results_folder_that_cannot_be_written(make_jobs: MakeJobs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to the results folder .*: Not a directory"):
        run_jobs(make_jobs(tmp_path), tmp_path / "file" / "results", Told())


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "out-of-memory", "killed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "failed", "signal 11"),
        ("import sys; sys.exit('out of luck')", "failed", "ended with code 1: out of luck"),
        ("import sys; sys.exit(7)", "failed", "ended with code 7: no output"),
        ('print(\'{"event": "note", "text": "hello"}\')', "failed", "ended with code 0"),
        ("print('no JSON')", "failed", "ended with code 0"),
    ],
)
def test_a_worker_that_dies_without_a_record(
    code: str, status: str, reason: str, make_jobs: MakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_code(monkeypatch, code)
    monkeypatch.setattr(process, "_oom_kills", lambda: None)
    job, told = make_jobs(tmp_path)[0], Told()
    record = run_jobs([job], tmp_path, told)[0]
    assert record.status == status
    assert reason in str(record.reason)
    assert Store(tmp_path).load(job.cell) == record
    assert json.loads(Store(tmp_path).path(job.cell).read_text())["status"] == status


def test_processes_whose_launcher_was_killed_end_too(
    make_jobs: MakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchrun's do: they hold its output open, so that its end alone says that it is gone."""
    rank = f"import sys; sys.stdin.read(); open({str(tmp_path / 'ended')!r}, 'w').write('rank')"
    own_code(
        monkeypatch,
        f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', {rank!r}], start_new_session=True); "
        "os.kill(os.getpid(), 11)",
    )
    [record] = run_jobs(make_jobs(tmp_path), tmp_path, Told())
    assert record.reason == "the process was ended by signal 11: no output"
    assert (tmp_path / "ended").read_text() == "rank"


def without_memory(smallest: int) -> str:
    """A worker that has no memory for micro-batches larger than `smallest`."""
    return f"""
from barbench.benchmarks.job import Job
from barbench.results.store import Store
from tests.results.test_store import record
job = Job.model_validate_json(path.read_text())
recipe = job.cell.recipe
if recipe["batch"] // recipe["accumulate"] > {smallest}:
    Store(job.results).save(job.failure("out-of-memory", "no memory", 123))
else:
    Store(job.results).save(record(job.cell, notes=job.notes))
"""


def test_a_cell_that_does_not_fit_gives_way_to_one_with_smaller_micro_batches(
    make_jobs: MakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is another cell, since batch norms see less at a time; the cell that was asked for keeps its own record."""
    code = without_memory(4)
    own_code(monkeypatch, code)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    [job], told = make_jobs(tmp_path, batch=16), Told()
    [alone] = run_jobs([job], tmp_path, told)
    assert (alone.status, alone.peak_memory_bytes) == ("out-of-memory", 123)
    [done] = run_jobs([job], tmp_path, told, halve=True)
    assert done.status == "done"
    assert done.id != job.cell.id()
    assert (done.cell.recipe["batch"], done.cell.recipe["accumulate"], done.cell.recipe["name"]) == (16, 4, "test*")
    assert done.notes[-1].endswith("here each batch of 16 is 4 micro-batches, and batch norms see 4 samples at a time")
    kept = Store(tmp_path).load(job.cell)
    assert kept is not None
    assert kept.status == "out-of-memory"
    monkeypatch.setattr(attempt, "run_worker", lambda *_: pytest.fail("what is finished was run again"))
    assert run_jobs([job], tmp_path, told, halve=True) == [done]


def test_micro_batches_of_one_are_not_halved(make_jobs: MakeJobs, tmp_path: Path) -> None:
    [job] = make_jobs(tmp_path, batch=6)
    smaller = job.halved()
    assert smaller is not None
    assert smaller.cell.recipe["accumulate"] == 2
    assert smaller.halved() is None, "three do not divide"
    [two] = make_jobs(tmp_path, batch=2)
    assert two.halved() is None, "a batch norm needs two samples"


FAKE = """
import json, time
from barbench.benchmarks.job import Job
from barbench.results.store import Store
from tests.results.test_store import record
job = Job.model_validate_json(path.read_text())
(path.parent.parent / f"begun-{job.cell.seed}").write_text(str(time.monotonic()))
limit = time.monotonic() + 60
while len(list(path.parent.parent.glob("begun-*"))) < %d and time.monotonic() < limit:
    time.sleep(0.01)
Store(job.results).save(record(job.cell))
"""


def seeds(make_jobs: MakeJobs, results: Path, count: int) -> list[Job]:
    [job] = make_jobs(results)
    return [job.model_copy(update={"cell": job.cell.model_copy(update={"seed": seed})}) for seed in range(count)]


def test_slots_run_cells_at_the_same_time_and_keep_their_order(
    make_jobs: MakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker waits until three have begun: with fewer at a time none would end."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    own_code(monkeypatch, FAKE % 3)
    jobs, told = seeds(make_jobs, tmp_path, 3), Told()
    records = run_jobs(jobs, tmp_path, told, executor=Local([Slot()] * 3))
    assert [r.cell.seed for r in records] == [0, 1, 2]
    assert {r.status for r in records} == {"done"}


def test_a_cell_that_dies_leaves_the_others_alone(
    make_jobs: MakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    own_code(monkeypatch, "import json; json.loads(path.read_text())['cell']['seed'] == 1 and exit(7)\n" + FAKE % 1)
    records = run_jobs(seeds(make_jobs, tmp_path, 3), tmp_path, Told(), executor=Local([Slot()] * 2))
    assert [r.status for r in records] == ["done", "failed", "done"]


def test_an_interrupted_run_ends_every_worker_and_writes_no_failure(
    make_jobs: MakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while two cells run: both are asked to stop, the third never begins."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs without it
    waiting = 'import time\nprint(\'{"event": "phase", "name": "loading"}\', flush=True)\ntime.sleep(120)'
    own_code(monkeypatch, waiting)
    told, begun = Told(), time.monotonic()

    def event(job: Job, event: dict[str, Any]) -> None:
        told.events.append(event)
        if [e["event"] for e in told.events].count("phase") == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(told, "event", event)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_jobs(seeds(make_jobs, tmp_path, 3), tmp_path, told, executor=Local([Slot()] * 2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begun < 60
    assert len(told.started) == 2
    assert Store(tmp_path).all() == []
    assert not (tmp_path / ".runs").exists()
