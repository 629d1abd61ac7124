"""Two processes that compute together over Gloo, forked from this one, which has imported everything already."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from accelerate.state import AcceleratorState

T = TypeVar("T")
COUNT = 2
SECONDS = 600.0
"""For both; a process that hangs is ended then."""


def in_two_processes(work: Callable[[int], T]) -> list[T]:
    """What `work` returns for each rank, pickled.

    Raises:
        AssertionError: with the traceback of a process that fails, or where one does not end.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    processes = []
    ends: list[Connection] = []
    for rank in range(COUNT):
        ours, theirs = fork.Pipe(duplex=False)
        process = fork.Process(target=_become_rank, args=(rank, port, work, theirs))
        process.start()
        theirs.close()
        processes.append(process)
        ends.append(ours)
    try:
        results = []
        for end in ends:
            assert end.poll(SECONDS), "a process does not end"
            failed, value = end.recv()
            assert not failed, value
            results.append(value)
        return results
    finally:
        for process in processes:
            process.join(5)
            process.kill()


def _become_rank(rank: int, port: int, work: Callable[[int], T], end: Connection) -> None:
    """As the launcher starts it; the surrounding test's state of accelerate is forgotten."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": COUNT, "LOCAL_WORLD_SIZE": COUNT, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"})
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        end.send((False, work(rank)))
    except BaseException:
        end.send((True, traceback.format_exc()))
    os._exit(0)
