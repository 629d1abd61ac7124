"""One run to a results folder, also where the file system has no locks."""

import errno
import fcntl
import os
import subprocess
import sys
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


def test_a_run_of_this_host_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    code = "import os; from pathlib import Path; from barbench.benchmarks.execution.host.lock import locked\n"
    code += f"with locked(Path({str(tmp_path)!r})): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert (tmp_path / ".lease").exists()
    with locked(tmp_path):
        pass
    assert not (tmp_path / ".lease").exists()
