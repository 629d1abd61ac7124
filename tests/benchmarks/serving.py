"""A fork server whose workers run what a test wants."""

import sys


def serving(code: str) -> list[str]:
    """Its command. In `code`, `path` is the job's."""
    script = f"""
import socket, sys
from barbench.benchmarks.forkserver import serve

def work(path):
    exec({code!r}, {{"path": path}})
    return 0

sys.exit(serve(socket.socket(fileno=int(sys.argv[1])), work))
"""
    return [sys.executable, "-c", script]
