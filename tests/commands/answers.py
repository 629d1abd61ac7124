"""Answers of many command lines for the price of one start: `python -m tests.commands.answers`.

Reads a JSON list of arguments per line, and prints a line of JSON for each. Each runs in a fork of a process that has
imported the light parts of barbench, so that it starts in milliseconds and cannot change the next one.
"""

import json
import os
import resource
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from barbench import cli

LIGHT = (
    *("barbench.benchmarks.panel_choice", "barbench.commands.data_checks", "barbench.benchmarks.matrix"),
    *("barbench.datasets.pixels.photo", "barbench.reports.write", "barbench.results.compare", "typer.rich_utils"),
)
HEAVY = ("torch", "open_clip", "pandas", "matplotlib")
CPU_SECONDS = 60  # after which a command is killed that has not noticed a mistake


def answer(arguments: list[str]) -> dict[str, Any]:
    """Exit code (negative: killed), both streams, seconds, and which heavy libraries a command line imported."""
    with tempfile.TemporaryDirectory() as scratch:
        names = {key: Path(scratch) / key for key in ("out", "err", "heavy")}
        begin = time.perf_counter()
        child = os.fork()
        if child == 0:
            _run(arguments, names)
        _, status = os.waitpid(child, 0)
        seconds = time.perf_counter() - begin
        texts = {key: path.read_text("utf-8", "replace") if path.exists() else "" for key, path in names.items()}
    return {**texts, "code": os.waitstatus_to_exitcode(status), "seconds": seconds}


def _run(arguments: list[str], names: dict[str, Path]) -> None:
    for number, key in ((1, "out"), (2, "err")):
        os.dup2(os.open(names[key], os.O_WRONLY | os.O_CREAT), number)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    sys.argv, code = ["barbench", *arguments], 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    names["heavy"].write_text(" ".join(name for name in HEAVY if name in sys.modules), "utf-8")
    os._exit(code)


if __name__ == "__main__":
    for module in LIGHT:
        import_module(module)
    assert not any(name in sys.modules for name in HEAVY)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
