"""A worker that the fork server forked, to be dealt with as one that was started: the runner's side of the socket."""

import os
import select
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO

from barbench.benchmarks.environment import worker_variables
from barbench.benchmarks.forkserver import ENDED


def available() -> bool:
    """Whether this system has what is used here: Linux. Elsewhere a fork does not get along with its libraries."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # not of this Python, or not of this kernel
        return False
    return True


class ForkServer:
    """The server of a run, by its `command`: started with the first worker, and again where it has died."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.control = socket.socket()

    def fork(self, path: Path, files: list[int], errors: IO[bytes]) -> int | None:
        """A handle (pidfd) of a worker for the job at `path`, with `files` for `serve`; None where the server died
        instead. What a new server has to complain of goes to `errors`."""
        if self._process is None or self._process.poll() is not None:
            self._start(errors)
        with suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self.control, [os.fsencode(path)], files)
            handles = socket.recv_fds(self.control, 1, 1)[1]
            return handles[0] if handles else None
        return None

    def wait(self) -> int:
        """The exit code of a server that is about to end."""
        assert self._process is not None
        return self._process.wait()

    def close(self) -> None:
        self.control.close()
        if self._process is not None:
            self._process.kill()  # it has nothing to save
            self._process.wait()

    def _start(self, errors: IO[bytes]) -> None:
        self.control.close()
        self.control, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [*self._command, str(its.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=worker_variables(),
                pass_fds=(its.fileno(),),
                start_new_session=True,
            )


class Forked:
    """As far as the runner needs it, a Popen: `stdout` is read here, and the worker ends where this process does."""

    def __init__(self, server: ForkServer, path: Path, errors: IO[bytes], lock: int) -> None:
        self._server = server
        self._handle: int | None = None
        (stdin, self._stdin), (read, stdout) = os.pipe(), os.pipe()
        self.stdout = os.fdopen(read, "rb")
        try:
            self._handle = server.fork(path, [stdin, stdout, errors.fileno(), lock], errors)
        except BaseException:
            self.close()  # so that a worker which has just begun ends
            raise
        finally:
            os.close(stdin)
            os.close(stdout)

    def result(self) -> tuple[int, int]:
        """Exit code and peak resident memory as the system counts it. Where the server died, its code in place of the
        worker's, which goes on without it."""
        with suppress(ConnectionResetError):
            found = self._server.control.recv(ENDED.size, socket.MSG_WAITALL)
            if len(found) == ENDED.size:
                status, peak = ENDED.unpack(found)
                return os.waitstatus_to_exitcode(status), peak
        self.wait()
        return self._server.wait(), 0

    def poll(self) -> int | None:
        """0 once it has ended: only `result` knows more."""
        return 0 if self._ended(0) else None

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended(timeout):
            raise subprocess.TimeoutExpired("worker", timeout or 0)
        return 0

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        os.close(self._stdin)
        self.stdout.close()
        if self._handle is not None:
            os.close(self._handle)

    def _ended(self, timeout: float | None) -> bool:
        return self._handle is None or bool(select.select([self._handle], [], [], timeout)[0])

    def _signal(self, number: signal.Signals) -> None:
        if self._handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)
