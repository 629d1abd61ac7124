"""A finished cell of a user's own method that was edited since is not taken for a result of the method."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from barbench.benchmarks.execution import attempt
from barbench.benchmarks.execution.host import source
from barbench.benchmarks.execution.host.source import code_hash, own_code
from barbench.benchmarks.execution.run import check_unedited, run_jobs
from barbench.benchmarks.job import Job
from barbench.errors import UsageError
from barbench.results.record import Record, Scores, SplitResult
from barbench.results.store import Store
from tests.benchmarks.conftest import MakeJobs, Told

MODULE = "mine_of_test_edited"
METHOD = f"{MODULE}:rank"
SOURCE = """
import barbench as bb


@bb.method("Rank")
def rank(size: int = 4):
    return (bb.Component(),)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's module, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / f"{MODULE}.py"
    path.write_text(SOURCE)
    yield path
    sys.modules.pop(MODULE, None)


@pytest.fixture
def job(module: Path, make_jobs: MakeJobs, tmp_path: Path) -> Job:
    """A cell of the user's method that is not trained: its attempt writes a record at once."""
    plain = make_jobs(tmp_path / "results")[0]
    return plain.model_copy(update={"cell": plain.cell.model_copy(update={"method": METHOD})})


def a_record(job: Job, **environment: Any) -> Record:
    splits = {"val": SplitResult(scores=Scores(miou=0.5, n=4), column="val", images=2, references=2)}
    made = job.failure("failed", "no").model_dump() | {"status": "done", "reason": None, "splits": splits}
    return Record.model_validate(made | {"environment": environment})


@pytest.fixture(autouse=True)
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(self: attempt._Attempt, job: Job) -> Any:
        self.store.save(a_record(job, own_code=own_code(job.cell.method)), {"val/iou": np.ones(4)})
        return self.ended("done")

    monkeypatch.setattr(attempt._Attempt, "_run_one", finish)


def test_an_edit_is_noticed_and_again_keeps_the_old_record(job: Job, module: Path) -> None:
    run_jobs([job], job.results, Told())
    told = Told()
    run_jobs([job], job.results, told)
    assert told.begun == [([], 1)]
    before = Store(job.results).path(job.cell).read_bytes()
    module.write_text(SOURCE.replace("size: int = 4", "size: int = 8"))
    with pytest.raises(UsageError, match=rf"{METHOD} was edited since 1 finished cell of it ended, .*--again"):
        run_jobs([job], job.results, Told())
    assert not list(job.results.glob(".runs/*"))
    assert Store(job.results).path(job.cell).read_bytes() == before
    # Again: trained from the start, and the old record is there.
    told = Told()
    [record] = run_jobs([job], job.results, told, again=True)
    assert told.begun == [([METHOD], 0)]
    assert record.environment["own_code"] == own_code(METHOD)
    path = Store(job.results).path(job.cell)
    assert path.with_name(f"{path.name}.before-1").read_bytes() == before
    assert path.with_suffix(".npz.before-1").exists()
    assert [each.id for each in Store(job.results).all()] == [record.id]
    # Which is finished now.
    told = Told()
    run_jobs([job], job.results, told)
    assert told.begun == [([], 1)]


def test_again_is_for_any_method(make_jobs: MakeJobs, tmp_path: Path) -> None:
    [job] = make_jobs(tmp_path / "results")
    for number in range(3):
        told = Told()
        run_jobs([job], job.results, told, again=True)
        assert told.begun == [(["head-only"], 0)]
        assert len(list(job.results.glob("*.before-*"))) == 2 * number
    told = Told()
    run_jobs([job], job.results, told)
    assert told.begun == [([], 1)]


def test_again_forgets_what_was_under_way(make_jobs: MakeJobs, tmp_path: Path) -> None:
    [job] = make_jobs(tmp_path / "results")
    job.scratch.mkdir(parents=True)
    job.checkpoint.write_text("half of it")
    job.evaluation.mkdir()
    (job.evaluation / "0-0.npz").write_text("half of it")
    run_jobs([job], job.results, Told(), again=True)
    assert not job.checkpoint.exists()
    assert not job.evaluation.exists()


def test_a_new_version_of_barbench_is_no_edit_of_the_method(job: Job) -> None:
    """`method_code`, which older records have, is over barbench's source too."""
    now = own_code(METHOD)
    check_unedited([a_record(job, code="another", method_code="another", own_code=now)])
    check_unedited([a_record(job, code="another", method_code="another")])
    check_unedited([a_record(job, code=code_hash(), method_code=code_hash(METHOD))])
    check_unedited([a_record(job), None, job.failure("failed", "no")])
    with pytest.raises(UsageError, match="was edited"):
        check_unedited([a_record(job, code=code_hash(), method_code="another")])


def test_a_built_in_method_has_no_code_of_its_own() -> None:
    assert own_code("snf") == own_code("snf+lora") == own_code("not_there_at_all:rank") == ""


def test_a_method_of_an_installed_package_or_a_part_of_one_has_code(
    job: Job, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Point:
        name, value = "ranked", METHOD

    monkeypatch.setattr(source, "entry_points", lambda group: [Point])
    assert own_code("ranked") == own_code(METHOD) == own_code(f"snf+{METHOD}") != ""
    before = own_code("ranked")
    module.write_text(SOURCE + "#")
    assert own_code("ranked") != before


def test_a_package_counts_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "package_of_test_edited"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "methods.py").write_text("from package_of_test_edited.layers import size")
    (package / "layers.py").write_text("size = 4")
    before = own_code("package_of_test_edited.methods:rank")
    (package / "layers.py").write_text("size = 8")
    assert before != own_code("package_of_test_edited.methods:rank") != ""
    sys.modules.pop("package_of_test_edited", None)
