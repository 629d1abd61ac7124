"""`barbench run` where a machine offers little: a user id without passwd entry, no home folder or a read-only one, the
locale C, no standard input and error. And, without a run, each place that asks the system for something."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from barbench.datasets import sources, untrusted
from barbench.datasets.pixels import decoder_warnings
from barbench.errors import UsageError
from barbench.files import at_home
from barbench.results.store import Store

REPOSITORY = Path(__file__).parents[2]
NOBODY = 54_321  # a user id that no passwd knows
PYTHONPATH = f"{REPOSITORY}:{sysconfig.get_path('purelib')}:{sysconfig.get_path('platlib')}"
STARTS_ITSELF = "import subprocess, sys, barbench; subprocess.check_call([sys.executable, '-c', 'import yaml'])"


def as_nobody(python: str, *words: str, **more: object) -> subprocess.CompletedProcess[str]:
    """A command of Python under another user id, with next to no variables."""
    variables = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PYTHONPATH": PYTHONPATH, "PYTHONDONTWRITEBYTECODE": "1"}
    variables |= more.pop("variables", {})  # type: ignore[call-overload]
    shell = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", python, *words]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        shell, env=variables, user=NOBODY, group=NOBODY, extra_groups=[], stdout=subprocess.PIPE, text=True, **more
    )


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter of this version that another user may start."""
    if os.getuid() != 0:
        pytest.skip("only root can take another user id")
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for found in filter(None, (sys.executable, shutil.which(system))):
        if as_nobody(found, "-c", STARTS_ITSELF, cwd="/").returncode == 0:
            return found
    pytest.skip("this interpreter, its packages or this clone are closed to other users")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody reaches; pytest's own belong to root alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("home", ["absent", "read-only"])
def test_a_run_comes_to_its_end(home: str, python: str, open_folder: Path, shapes_root: Path) -> None:
    shutil.copytree(shapes_root, open_folder / "data").chmod(0o755)
    work, closed = open_folder / "work", open_folder / "home"
    work.mkdir()
    os.chown(work, NOBODY, NOBODY)
    closed.mkdir(mode=0o555)
    done = as_nobody(
        python, "-m", "barbench.cli", "run", "--methods", "head-only", "--split", "refcoco+", "--set", "epochs=1",
        "--data", str(open_folder / "data"),
        cwd=work, variables={"HOME": str(closed)} if home == "read-only" else {}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "Head only" in done.stdout
    assert [record.status for record in Store(work / "results").all()] == ["done"]


def homeless(*_: object) -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_home_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "expanduser", homeless)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UsageError, match="~/data: there is no home folder here"):
        at_home("~/data")
    monkeypatch.delenv("BARBENCH_CACHE", raising=False)
    assert str(sources.cache_folder()).startswith(tempfile.gettempdir())
    monkeypatch.setenv("BARBENCH_CACHE", "~/cache")
    with pytest.raises(UsageError, match="no home folder"):
        sources.cache_folder()
    with pytest.raises(UsageError, match="no home folder"):
        sources.data_root("~/data")


def test_a_home_folder_that_is_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BARBENCH_CACHE", raising=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert str(sources.cache_folder()).startswith(tempfile.gettempdir())


def test_no_place_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with decoder_warnings.decoder_warnings() as said:
        pass
    assert said == []


def test_a_system_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "Path", lambda name: Path(f"/nowhere{name}"))
    with untrusted.bounded_memory(10):
        assert len(bytearray(2**20)) == 2**20
