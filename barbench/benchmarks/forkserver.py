"""A process that has imported what a worker needs, and forks one worker a cell: importing takes longer than a small
cell does. `python -m barbench.benchmarks.forkserver DESCRIPTOR`, started by the runner.

Nothing is computed in it, so that a worker starts as a new process would: no CUDA, and no threads but those of
OpenBLAS and jemalloc, which both see to themselves at a fork. It ends with the runner, whose end of the socket closes.
"""

import os
import socket
import struct
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

STREAMS = 3  # standard input, output and error
ENDED = struct.Struct("qq")  # wait status, peak resident memory as the system counts it


def serve(control: socket.socket, work: Callable[[Path], int]) -> int:
    """Fork for each path that comes with its standard streams and the lock to hold; answer with the process, and once
    it has ended with how. Gives 0 where the runner is gone, and in a forked process the exit code of `work`."""
    while True:
        path, files, _, _ = socket.recv_fds(control, 4096, STREAMS + 1)
        if not path:
            return 0
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of OpenBLAS's threads
            worker = os.fork()
        if worker == 0:
            control.close()
            for number, file in enumerate(files[:STREAMS]):
                os.dup2(file, number)
                os.close(file)
            return work(Path(os.fsdecode(path)))
        for file in files:
            os.close(file)
        with suppress(BrokenPipeError, ConnectionResetError):  # the runner is gone, and its worker goes too
            handle = os.pidfd_open(worker)
            socket.send_fds(control, [b"+"], [handle])
            os.close(handle)
            _, status, usage = os.wait4(worker, 0)
            control.sendall(ENDED.pack(status, usage.ru_maxrss))


if __name__ == "__main__":
    from barbench.benchmarks.worker import finish, main

    finish(serve(socket.socket(fileno=int(sys.argv[1])), main))
