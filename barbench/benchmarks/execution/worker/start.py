"""The process of one cell: `python -m barbench.benchmarks.execution.worker.start JOB.json`, started by the runner.

It handles signals before it imports torch, which takes seconds: asked to stop so early, it ends at once.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType

from barbench.benchmarks.execution.worker.signals import EXIT_WITHOUT_RECORD, exit_event, listen


def _exit(number: int, frame: FrameType | None) -> None:
    stdout = sys.__stdout__.fileno() if sys.__stdout__ else 1
    os.write(stdout, json.dumps(exit_event("stopped")).encode() + b"\n")
    os._exit(EXIT_WITHOUT_RECORD)


if __name__ == "__main__":
    listen(_exit)
    code = import_module("barbench.benchmarks.execution.worker.main").main(Path(sys.argv[1]))
    if code == EXIT_WITHOUT_RECORD:
        os._exit(code)  # at once: torch can take longer to shut down than the checkpoint took
    sys.exit(code)
