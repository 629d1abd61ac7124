"""A cell that was made on another host, as it is settled on this one."""

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from barbench.benchmarks.execution.host import resolve as site
from barbench.benchmarks.execution.host.resolve import resolve_on_host
from barbench.benchmarks.job import Job
from barbench.benchmarks.matrix import identify_weights
from barbench.datasets.sources import folder_source
from barbench.errors import UsageError
from barbench.spec.dataset import resolve_dataset
from tests.benchmarks.conftest import MakeJobs


@pytest.fixture
def job(make_jobs: MakeJobs, tmp_path: Path) -> Job:
    """On a host with 24 cores of which it may use 8."""
    [made] = make_jobs(tmp_path)
    return made.at(threads=0, workers=None, cache="auto").model_copy(update={"cores": 8})


def with_files(job: Job, **fields: Any) -> Job:
    return job.model_copy(update={"files": job.files.model_copy(update=fields)})


def with_cell(job: Job, **fields: Any) -> Job:
    return job.model_copy(update={"cell": job.cell.model_copy(update=fields)})


def test_what_the_command_of_this_host_settled_stays(job: Job) -> None:
    settled = with_files(job.at(threads=3, workers=1), data=Path("/nowhere"))
    assert resolve_on_host(settled) == settled
    assert resolve_on_host(settled.at(device="cuda", threads=8, workers=None)).place.workers == 6


def test_its_cores_are_divided_among_its_processes(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BARBENCH_CACHE", str(tmp_path / "cache"))
    alone, two = resolve_on_host(job).place, resolve_on_host(with_cell(job, processes=2)).place
    assert (alone.threads, alone.workers, alone.cache) == (8, 0, tmp_path / "cache")
    assert two.threads == 4
    assert resolve_on_host(job.at(workers=2)).place.workers == 2
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert resolve_on_host(with_cell(job, processes=2).at(device="cuda")).place.workers == 2


def test_data_lie_elsewhere(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shapes_root: Path) -> None:
    moved = with_files(job, data=tmp_path / "gone")
    with pytest.raises(UsageError, match="gone"):
        resolve_on_host(moved)
    monkeypatch.setenv("BARBENCH_DATA", str(shapes_root))
    assert resolve_on_host(moved).files.data == shapes_root


def test_other_data(job: Job, shapes_root: Path) -> None:
    other = with_cell(job, data=job.cell.data.model_copy(update={"fingerprint": "0"}))
    with pytest.raises(UsageError, match=f"^{shapes_root} holds other data than the cell was made for$"):
        resolve_on_host(other)


def test_data_of_ones_own_are_found_by_their_folder(job: Job, shapes_root: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes_root / "refcoco+", tmp_path / "mine")
    (tmp_path / "mine" / "protocol.yaml").write_text("refs: refs(unc).p\nsplits: [val]\n")
    fingerprint = folder_source(tmp_path, resolve_dataset("mine", tmp_path)).fingerprint
    data = job.cell.data.model_copy(update={"fingerprint": fingerprint})
    own = with_files(with_cell(job, dataset="mine", data=data), data=tmp_path)
    own = own.model_copy(update={"dataset": resolve_dataset("mine", tmp_path)})
    assert resolve_on_host(own).files.data == tmp_path


def test_shapes_are_drawn_where_they_are_missing(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted = site.ShapesSpec().fingerprint()
    made = type("Source", (), {"root": tmp_path / "drawn"})
    monkeypatch.setattr(site, "shapes_source", lambda spec: made if spec.fingerprint() == wanted else None)
    data = job.cell.data.model_copy(update={"fingerprint": wanted})
    absent = with_files(with_cell(job, data=data), data=tmp_path / f"shapes-{wanted}")
    assert resolve_on_host(absent).files.data == tmp_path / "drawn"


def test_weights_that_are_not_the_cells(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"one")
    named = with_cell(job, weights=f"weights.safetensors@{sha256(b'one').hexdigest()[:8]}")
    settled = resolve_on_host(with_files(named, weights=str(path)))
    assert settled.files.weights == str(path)
    path.write_bytes(b"two")
    with pytest.raises(UsageError, match=r"does not hold the weights weights.safetensors@"):
        resolve_on_host(with_files(named, weights=str(path)))
    path.unlink()
    with pytest.raises(UsageError):
        resolve_on_host(with_files(named, weights=str(path)))


def test_the_weights_that_ship_with_barbench_lie_where_it_is_installed(job: Job) -> None:
    tag, path = identify_weights("tiny", None)
    tiny = with_cell(job, backbone="tiny", weights=tag)
    moved = with_files(tiny, backbone="tiny", weights="/elsewhere/open_clip_model.safetensors")
    assert resolve_on_host(moved).files.weights == path


def test_too_few_gpus(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UsageError, match=r"^1 GPU where the cell needs 2$"):
        resolve_on_host(with_cell(job, processes=2).at(device="cuda"))
