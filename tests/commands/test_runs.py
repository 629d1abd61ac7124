"""`barbench status`, `stop` and `results merge`, and the requests that `barbench run` refuses at once."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from barbench.benchmarks.execution.host import devices
from barbench.benchmarks.execution.run_folder import RunFolder
from barbench.commands import runs
from barbench.results.record import Record
from barbench.results.store import Store
from tests.results.cells import put_cell
from tests.test_cli import Ask
from tests.test_cli import ask as ask

CELLS = {"0a0a": "etris--tiny--refcoco+--seed0--0a0a", "1b1b": "snf--tiny--refcoco+--seed0--1b1b"}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """One under way: its first cell steps, its second waits."""
    made = RunFolder.make(tmp_path, "local", CELLS, "")
    made.folder("0a0a").mkdir()
    made.events("0a0a").add({"event": "attempt", "number": 2, "host": "89abcdef"})
    made.events("0a0a").add({"event": "step", "epoch": 1, "epochs": 2, "step": 3, "steps": 9, "loss": 0.25})
    return made


def test_status(run: RunFolder, ask: Ask, tmp_path: Path) -> None:
    answer = ask("status", "--results", tmp_path, "--format", "json")
    assert answer.code == 0
    rows = json.loads(answer.out)
    assert [(row["run"], row["cell"], row["state"]) for row in rows] == [
        (run.id, CELLS["0a0a"], "running"),
        (run.id, CELLS["1b1b"], "waiting"),
    ]
    assert (rows[0]["attempt"], rows[0]["host"], rows[0]["epoch"], rows[0]["step"]) == (2, "89abcdef", "1/2", "3/9")
    assert rows[0]["loss"] == 0.25
    out = ask("status", "--results", tmp_path).out
    assert CELLS["1b1b"] in out
    assert f"run {run.id} (local): 1 running, 1 waiting" in out
    assert "epoch 1/2, step 3/9, loss 0.2500" in " ".join(out.split())


def test_status_shows_the_time_left_and_the_score(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the pace of this attempt's steps; a record's score as `run` prints it."""
    cells = {}
    for method, status in (("etris", "done"), ("snf", "failed"), ("barleria", "")):
        put_cell(Store(tmp_path), method)
        [record] = [found for found in Store(tmp_path).all() if found.cell.method == method]
        cells[method] = record.cell
        if status == "failed":
            Store(tmp_path).save(record.model_copy(update={"status": status, "reason": "the loss is infinite"}))
        if not status:
            Store(tmp_path).path(record.cell).unlink()
    run = RunFolder.make(tmp_path, "local", {cell.id(): cell.stem() for cell in cells.values()}, "")
    for cell in cells.values():
        run.folder(cell.id()).mkdir()
        events = run.events(cell.id())
        events.add({"event": "attempt", "number": 1, "host": "89abcdef"})
    now = [1000.0]
    monkeypatch.setattr("barbench.benchmarks.execution.run_folder.time.time", lambda: now[0])
    step = {"event": "step", "epochs": 2, "steps": 10, "loss": 0.25}
    events.add(step | {"epoch": 1, "step": 10})
    [row] = [row for row in _rows(ask, tmp_path) if row["cell"] == cells["barleria"].stem()]
    assert row["left"] is None, "one step has no pace"
    now[0] += 20.0
    events.add(step | {"epoch": 2, "step": 10})
    events.add(step | {"epoch": 2, "step": 10})
    rows = {row["cell"]: row for row in _rows(ask, tmp_path)}
    assert rows[cells["barleria"].stem()]["left"] == 0.0
    assert rows[cells["etris"].stem()]["state"] == "done"
    assert rows[cells["etris"].stem()]["result"].startswith("mIoU val ")
    assert (rows[cells["snf"].stem()]["state"], rows[cells["snf"].stem()]["result"]) == (
        "failed",
        "failed: the loss is infinite",
    )
    events.add({"event": "phase", "name": "evaluating val", "share": 0.5})
    [row] = [row for row in _rows(ask, tmp_path) if row["cell"] == cells["barleria"].stem()]
    assert (row["step"], row["left"]) == ("evaluating val, 50%", None)
    events.add({"event": "scored", "split": "val", "done": 2, "of": 4, "miou": 0.5})
    [row] = [row for row in _rows(ask, tmp_path) if row["cell"] == cells["barleria"].stem()]
    assert row["step"] == "evaluating val  2/4  mIoU 50.0"


def _rows(ask: Ask, folder: Path) -> list[dict[str, Any]]:
    return list(json.loads(ask("status", "--results", folder, "--format", "json").out))


def test_a_cell_that_failed_before_and_waits_is_waiting(ask: Ask, tmp_path: Path) -> None:
    record = put_cell(Store(tmp_path), "etris")
    Store(tmp_path).save(record.model_copy(update={"status": "failed", "reason": "it was lost"}))
    run = RunFolder.make(tmp_path, "local", {record.id: record.cell.stem(), "1b1b": CELLS["1b1b"]}, "")
    assert [row["state"] for row in _rows(ask, tmp_path)] == ["waiting", "waiting"]
    run.folder(record.id).mkdir()
    run.events(record.id).add({"event": "attempt", "number": 2, "host": "89abcdef"})
    assert [row["state"] for row in _rows(ask, tmp_path)] == ["failed", "waiting"]


def test_status_and_stop_know_the_search(ask: Ask, tmp_path: Path) -> None:
    """`tune --results R` keeps its trials, and its run, in R/tuning."""
    search = RunFolder.make(tmp_path / "tuning", "local", CELLS, "")
    assert {row["run"] for row in _rows(ask, tmp_path)} == {search.id}
    assert ask("stop", "--results", tmp_path).code == 0
    assert search.asked_to_stop()


def test_status_watch_waits_for_a_run_and_ends_with_it(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[RunFolder] = []
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            made.append(RunFolder.make(tmp_path, "local", CELLS, ""))
        if len(looks) == 4:
            made[0].remove()

    monkeypatch.setattr(runs.time, "sleep", sleep)
    answer = ask("status", "--watch", "--results", tmp_path)
    assert (answer.code, len(looks)) == (0, 4)
    lines = answer.out.splitlines()
    assert lines[:2] == [f"no run is under way in {tmp_path}", "waiting for a run to begin"]
    assert lines[-1] == f"no run is under way in {tmp_path}"


def test_status_watch_does_not_wait_for_a_run_for_ever(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "BEGIN_SECONDS", 0.0)
    assert ask("status", "--watch", "--results", tmp_path).code == 0


def test_status_where_the_command_that_began_the_run_is_gone(run: RunFolder, ask: Ask, tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        pass
    fields = json.loads((run.path / "run.json").read_text()) | {"process": dead.pid}
    (run.path / "run.json").write_text(json.dumps(fields))
    rows = json.loads(ask("status", "--results", tmp_path, "--format", "json").out)
    assert {row["state"] for row in rows} == {"orphaned"}
    answer = ask("stop", "--results", tmp_path)
    assert answer.out.strip() == f"run {run.id} had ended; its folder is removed"
    assert ask("status", "--results", tmp_path).out.strip() == f"no run is under way in {tmp_path}"


def test_status_of_a_failed_cell_and_of_one_that_waits_for_another_try(ask: Ask, tmp_path: Path) -> None:
    store = Store(tmp_path)
    failed = [put_cell(store, "snf", status="failed", seed=seed) for seed in (0, 1)]
    done = put_cell(store, "etris")
    cells = {record.id: record.cell.stem() for record in (*failed, done)}
    run = RunFolder.make(tmp_path, "local", cells, "")
    for record in (failed[0], done):
        run.folder(record.id).mkdir()
        run.events(record.id).add({"event": "attempt", "number": 1, "host": "0"})
    rows = json.loads(ask("status", "--results", tmp_path, "--format", "json").out)
    assert [row["state"] for row in rows] == ["failed", "waiting", "done"]


def test_status_of_a_cell_that_runs_with_smaller_batches(ask: Ask, tmp_path: Path) -> None:
    """The cell that was asked for has a record, out-of-memory; the one in its place has none yet."""
    store = Store(tmp_path)
    large = put_cell(store, "snf", status="out-of-memory")
    run = RunFolder.make(tmp_path, "local", {large.id: large.cell.stem(), **CELLS}, "")
    run.folder(large.id).mkdir()
    events = run.events(large.id)
    smaller = large.cell.model_copy(update={"recipe": {"name": "demo*", "accumulate": 2}})
    for number, cell in enumerate((large.cell, smaller), start=1):
        events.add({"event": "attempt", "number": number, "host": "0", "record": cell.stem()})

    def state() -> str:
        rows = json.loads(ask("status", "--results", tmp_path, "--format", "json").out)
        return str(rows[0]["state"])

    assert state() == "running"
    put_cell(store, "snf", recipe=smaller.recipe)
    assert state() == "done"


DAMAGED = {
    "": "it is empty",
    "{": "Expecting",
    "[]": "it lacks cells",
    '{"executor": "local"}': "it lacks cells",
    "\0": "",
}


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_run_is_named_by_what_reads(content: str, ask: Ask, tmp_path: Path) -> None:
    """As after a power failure, or where a quota was reached."""
    file = tmp_path / ".runs" / "1128-101500-3fa2" / "run.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    status = ask("status", "--results", tmp_path)
    assert (status.code, status.out.strip()) == (0, f"no run is under way in {tmp_path}")
    stop = ask("stop", "--results", tmp_path)
    assert stop.code == 2
    assert f"no run is under way in {tmp_path}" in stop.err
    for answer in (status, stop):
        assert f"{file} cannot be read" in answer.err
        assert DAMAGED[content] in answer.err
        assert "the next `barbench run`" in answer.err
    assert file.read_text() == content


def test_a_damaged_run_hides_no_other(run: RunFolder, ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / ".runs" / "1128-101500-3fa2" / "run.json"
    file.parent.mkdir(parents=True)
    file.touch()
    rows = json.loads(ask("status", "--results", tmp_path, "--format", "json").out)
    assert {row["run"] for row in rows} == {run.id}
    assert ask("stop", "--results", tmp_path).code == 0


def test_stop_a_cell_then_the_run(run: RunFolder, ask: Ask, tmp_path: Path) -> None:
    answer = ask("stop", run.id, "snf", "--results", tmp_path)
    assert (answer.code, answer.out.split(";")[0]) == (0, f"1 cell of run {run.id} asked to stop")
    assert [run.asked_to_stop(cell) for cell in CELLS] == [False, True]
    assert not run.asked_to_stop()
    assert ask("stop", "--results", tmp_path).out.split(";")[0] == f"run {run.id} asked to stop"
    assert run.asked_to_stop()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["1127-101500-3fa2"], "unknown run '1127-101500-3fa2'"),
        (["{run}", "barleria"], "'barleria' fits no cells of run {run}; barbench status names them"),
    ],
)
def test_what_cannot_be_stopped(words: list[str], says: str, run: RunFolder, ask: Ask, tmp_path: Path) -> None:
    answer = ask("stop", *(word.format(run=run.id) for word in words), "--results", tmp_path)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert says.format(run=run.id) in answer.err
    assert not any(run.asked_to_stop(cell) for cell in CELLS)


def test_nothing_to_stop(ask: Ask, tmp_path: Path) -> None:
    answer = ask("stop", "--results", tmp_path)
    assert (answer.code, answer.err) == (2, f"error: no run is under way in {tmp_path}\n")


@pytest.fixture
def differing(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders: one cell of both with other scores, one cell of each."""
    a, b = Store(tmp_path / "a"), Store(tmp_path / "b")
    put_cell(a, "etris")
    other = put_cell(b, "etris")
    scores = {name: split.model_dump() for name, split in other.splits.items()}
    scores["val"]["scores"]["miou"] += 1e-9
    b.save(Record.model_validate(other.model_dump() | {"splits": scores}), b.expressions(other.cell))
    put_cell(a, "snf")
    put_cell(b, "barleria")
    return a.folder, b.folder


def test_merge_refuses_two_scores_of_one_cell(differing: tuple[Path, Path], ask: Ask, tmp_path: Path) -> None:
    into = tmp_path / "all"
    answer = ask("results", "merge", *differing, "--into", into)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    [stem] = {p.stem for p in differing[0].glob("*.json")} & {p.stem for p in differing[1].glob("*.json")}
    assert f"1 cell differs ({stem}); " in answer.err
    assert Store(into).all() == []


@pytest.mark.parametrize("which", ["keep", "replace"])
def test_merge_takes_the_one_that_it_is_told_to(
    which: str, differing: tuple[Path, Path], ask: Ask, tmp_path: Path
) -> None:
    into = tmp_path / "all"
    answer = ask("results", "merge", *differing, "--into", into, "--on-conflict", which)
    assert answer.code == 0, answer.err
    found = {record.cell.method: record for record in Store(into).all()}
    assert found.keys() == {"etris", "snf", "barleria"}
    source = Store(differing[which == "replace"])
    assert found["etris"] == source.load(found["etris"].cell)
    for record in found.values():
        assert Store(into).expressions(record.cell)
    again = ask("results", "merge", differing[1], "--into", into, "--on-conflict", "replace").out
    assert again.startswith("1 record copied" if which == "keep" else "0 records copied")


def test_merge_of_a_folder_that_is_not_there(ask: Ask, tmp_path: Path) -> None:
    answer = ask("results", "merge", tmp_path / "none", "--into", tmp_path / "all")
    assert answer.code == 2
    assert "does not exist" in answer.err
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--executor", "slurm"],
            "--executor slurm: there is no sbatch on this host; give the command on a login node",
        ),
        (["--gpus", "0,9"], "--gpus 0,9: write all, none, or numbers; this host has GPUs 0 to 1"),
        (["--processes", "3"], "--processes 3 needs as many GPUs, and has 2 to use"),
        (["--cluster", "cpus=4"], "--cluster is for --executor slurm or ray"),
        (["--detach"], "--detach is for --executor slurm; with Ray, give the command to `ray job submit`"),
        (["--executor", "slurm", "--gpus", "0"], "--executor slurm: the cluster chooses GPUs; --gpus is all or none"),
        (["--executor", "slurm", "--cluster", "minuets=4"], "--cluster has no field 'minuets'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_request_that_cannot_be_met(
    words: list[str], says: str, ask: Ask, shapes_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, at once, and nothing is left."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(devices, "core_count", lambda: 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    matrix = ["--methods", "head-only", "--split", "refcocog-g", "--data", shapes_root]
    answer = ask("run", *matrix, *words, "--results", tmp_path / "results")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert says in answer.err
    assert os.listdir(tmp_path) == []
