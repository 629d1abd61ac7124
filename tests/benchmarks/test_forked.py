"""The fork server: workers that live apart from it, and what is left where either dies."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

from barbench.benchmarks import forked, process
from barbench.benchmarks.forked import Forked, ForkServer, available
from tests.benchmarks.conftest import MakeJobs
from tests.benchmarks.serving import serving

pytestmark = pytest.mark.skipif(not available(), reason="it needs Linux's pidfd")


@pytest.fixture
def errors(tmp_path: Path) -> Iterator[IO[bytes]]:
    with (tmp_path / "stderr").open("wb") as file:
        yield file


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(number, fcntl.LOCK_EX)
    yield number
    os.close(number)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[ForkServer]:
    made = ForkServer(serving(request.param))
    yield made
    made.close()


def server_of(worker: int) -> psutil.Process:
    """While it is alive, a worker's parent."""
    return psutil.Process(psutil.Process(worker).ppid())


SAYS_ITS_NAME = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"


@pytest.mark.parametrize("server", ["import sys; print(path.name); sys.exit('bad')"], indirect=True)
def test_one_server_forks_every_worker(server: ForkServer, tmp_path: Path, errors: IO[bytes], lock: int) -> None:
    for name in ("one", "two"):
        worker = Forked(server, tmp_path / name, errors, lock)
        assert worker.stdout.read() == f"{name}\n".encode()
        code, peak = worker.result()
        assert code == 1
        assert 5e6 < peak * 1024 < 500e6
        worker.close()
    assert (tmp_path / "stderr").read_text() == "bad\nbad\n"


@pytest.mark.parametrize("server", [SAYS_ITS_NAME], indirect=True)
def test_a_worker_outlives_its_server_and_another_server_is_started(
    server: ForkServer, tmp_path: Path, errors: IO[bytes], lock: int
) -> None:
    worker = Forked(server, tmp_path, errors, lock)
    first = server_of(int(worker.stdout.readline()))
    first.kill()
    assert server.wait() == -signal.SIGKILL
    assert worker.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.1)
    worker.terminate()
    assert worker.wait(10) == 0
    assert worker.result() == (-signal.SIGKILL, 0), "nobody knows how it ended"
    worker.close()
    worker = Forked(server, tmp_path, errors, lock)
    assert server_of(int(worker.stdout.readline())).pid != first.pid
    worker.kill()
    assert worker.result()[0] == -signal.SIGKILL
    worker.close()


@pytest.mark.parametrize("server", [SAYS_ITS_NAME], indirect=True)
def test_the_lock_is_the_workers_not_the_servers(
    server: ForkServer, tmp_path: Path, errors: IO[bytes], lock: int
) -> None:
    worker = Forked(server, tmp_path, errors, lock)
    worker.stdout.readline()
    with (tmp_path / "lock").open() as other:
        os.dup2(os.open(os.devnull, os.O_RDONLY), lock)  # as if the runner had died
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        worker.close()  # its standard input ends, and it with it
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)
        else:
            pytest.fail("the server holds the lock")


def test_a_server_that_cannot_start_says_why(tmp_path: Path, errors: IO[bytes], lock: int) -> None:
    server = ForkServer([sys.executable, "-m", "no.such.module"])
    worker = Forked(server, tmp_path, errors, lock)
    assert worker.stdout.read() == b""
    assert worker.result() == (1, 0)
    assert "no.such" in (tmp_path / "stderr").read_text()
    worker.close()
    server.close()


def test_the_server_ends_with_its_runner(tmp_path: Path) -> None:
    """Killed (-9) while a worker computes: neither is left."""
    script = f"""
import os, sys
from pathlib import Path
from barbench.benchmarks.forked import Forked, ForkServer
worker = Forked(ForkServer({serving(SAYS_ITS_NAME)!r}), Path("job"), open(os.devnull, "wb"), 2)
sys.stdout.buffer.write(worker.stdout.readline())
sys.stdout.flush()
sys.stdin.read()
"""
    runner = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert runner.stdout is not None
    worker = psutil.Process(int(runner.stdout.readline()))
    left = [worker, psutil.Process(worker.ppid())]
    assert os.getsid(left[1].pid) == os.getsid(worker.pid) != os.getsid(runner.pid), "Ctrl-C reaches the runner only"
    runner.kill()
    runner.wait()
    assert psutil.wait_procs(left, timeout=20)[1] == []


@pytest.mark.parametrize(
    ("device", "processes", "kernel_has_it", "kind"),
    [
        ("cpu", 1, True, "Forked"),
        ("cuda", 1, True, "Launched"),
        ("cpu", 2, True, "Launched"),
        ("cpu", 1, False, "Launched"),
    ],
)
def test_which_cells_are_forked(
    device: str,
    processes: int,
    kernel_has_it: bool,
    kind: str,
    make_jobs: MakeJobs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    errors: IO[bytes],
    lock: int,
) -> None:
    def no_pidfd(_: int) -> int:
        raise OSError(38, "Function not implemented")

    if not kernel_has_it:
        monkeypatch.setattr(forked.os, "pidfd_open", no_pidfd)
    for name in ("Forked", "Launched"):
        monkeypatch.setattr(process, name, lambda *_, name=name: name)
    [job] = make_jobs(tmp_path)
    job = job.model_copy(
        update={"device": device, "cell": job.cell.model_copy(update={"processes": processes})},
    )
    with process.Workers(lock) as workers:
        assert workers._start(job, tmp_path / "job.json", errors) == kind
