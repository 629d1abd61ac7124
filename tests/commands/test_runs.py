"""`barbench status`, `stop` and `results merge`, and the requests that `barbench run` refuses at once."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from barbench.benchmarks.execution.host import devices
from barbench.benchmarks.execution.run_folder import RunFolder
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
    made.events("0a0a").add({"event": "step", "epoch": 1, "epochs": 2, "step": 3, "steps": 9})
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
    assert CELLS["1b1b"] in ask("status", "--results", tmp_path).out


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
