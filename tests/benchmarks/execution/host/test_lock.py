"""One run to a results folder, also where the file system has no locks."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from barbench.benchmarks.execution.host import lock
from barbench.benchmarks.execution.host.lock import locked
from barbench.errors import UsageError


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        locked(tmp_path),
        pytest.raises(UsageError, match=rf"another barbench run \(process {os.getpid()} on "),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        pass


def test_another_error_of_the_lock_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UsageError, match=r"cannot write to .*: Input/output error"), locked(tmp_path):
        pass


def marker(host: str, process: int) -> str:
    return f"filelock/2\npid={process}\nhost={host}\nmode=lease\ntoken={'0' * 32}\nduration=60.0\nstart=1\n"


def test_a_run_on_another_host_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its marker is touched while it is looked at: it lives."""
    (tmp_path / ".lease").write_text(marker("elsewhere", 7))
    monkeypatch.setattr(lock.time, "sleep", lambda _: os.utime(tmp_path / ".lease"))
    with (
        pytest.raises(UsageError, match=r"another barbench run \(process 7 on elsewhere\) is using .*; wait for it"),
        locked(tmp_path),
    ):
        pass


@pytest.mark.parametrize("age", [3600.0, 0.0], ids=["old", "new"])
def test_a_killed_run_whose_process_number_is_anothers_now(
    age: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The marker has no start time, as on macOS. Nobody of this host holds the file lock, so its run is dead."""
    monkeypatch.setattr(lock, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.5)
    file = tmp_path / ".lease"
    file.write_text(marker(socket.gethostname(), os.getpid()).replace("start=1\n", "").replace("60.0", "2.0"))
    os.utime(file, (time.time() - age, time.time() - age))
    begin = time.monotonic()
    with locked(tmp_path):
        pass
    assert (time.monotonic() - begin < 1.5) == bool(age)
    words = f"{tmp_path} was in use by process {os.getpid()} on {socket.gethostname()}"
    assert capsys.readouterr().err == ("" if age else f"{words}; unless that lives, it is free in 2 s\n")


def test_the_wait_for_a_lease_of_another_host_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lock, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.5)
    (tmp_path / ".lease").write_text(marker("elsewhere", 7).replace("60.0", "2.0"))
    with locked(tmp_path):
        pass
    wait = f"{tmp_path} was in use by process 7 on elsewhere; unless that lives, it is free in 2 s\n"
    assert capsys.readouterr().err == wait


def test_a_run_of_this_host_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    code = "import os; from pathlib import Path; from barbench.benchmarks.execution.host.lock import locked\n"
    code += f"with locked(Path({str(tmp_path)!r})): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert (tmp_path / ".lease").exists()
    with locked(tmp_path):
        pass
    assert not (tmp_path / ".lease").exists()
