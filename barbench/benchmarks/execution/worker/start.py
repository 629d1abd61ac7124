"""The process of one cell: `python -m barbench.benchmarks.execution.worker.start JOB.json`, started by the runner.

It listens to signals before it imports torch, which takes seconds: asked to stop so early, it ends at once.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType

from barbench.benchmarks.execution.worker.exits import LEFT, leaving
from barbench.benchmarks.execution.worker.signals import listen


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(sys.__stdout__.fileno() if sys.__stdout__ else 1, json.dumps(leaving("stopped")).encode() + b"\n")
    os._exit(LEFT)


if __name__ == "__main__":
    listen(_leave)
    code = import_module("barbench.benchmarks.execution.worker.main").main(Path(sys.argv[1]))
    if code == LEFT:
        os._exit(code)  # at once: taking torch apart can take longer than the checkpoint did
    sys.exit(code)
