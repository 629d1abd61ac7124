"""Time the main job and write its number into the pages that name it: `python -m tools.main_job`.

The main job is README's first command without the installation. `tools/main_job.json` keeps what was measured, and
README and quickstart say it as a phrase, which a test compares. `--seconds N` writes a number that was measured before.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

ROOT = Path(__file__).parents[1]
MEASURED = Path(__file__).with_suffix(".json")
PAGES = ("README.md", "docs/quickstart.md")
PHRASE = re.compile(r"about \d+ minutes on \d+ CPU cores")


class Measured(NamedTuple):
    """One timing of the main job.

    Attributes:
        seconds: wall clock, with an empty cache.
        cores: CPU cores of the machine, which did nothing else.
        commit: what was timed.
    """

    seconds: int
    cores: int
    commit: str

    def phrase(self) -> str:
        """What the pages say, as PHRASE finds it."""
        return f"about {round(self.seconds / 60)} minutes on {self.cores} CPU cores"


def load() -> Measured:
    """What was measured last."""
    return Measured(**json.loads(MEASURED.read_text("utf-8")))


def command() -> list[str]:
    """The words of README's first `barbench run`.

    Raises:
        AttributeError: if README has no such command.
    """
    found = re.search(r"&& barbench (run .*)", (ROOT / "README.md").read_text("utf-8"))
    return shlex.split(found.group(1))  # type: ignore[union-attr]


def measure() -> int:
    """Seconds of the main job in an empty folder with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        variables = os.environ | {"BARBENCH_CACHE": f"{folder}/cache", "PYTHONPATH": str(ROOT)}
        begin = time.monotonic()
        subprocess.run([sys.executable, "-m", "barbench.cli", *command()], cwd=folder, env=variables, check=True)
        return round(time.monotonic() - begin)


def with_phrase(page: str, phrase: str) -> str:
    """A page that says another time.

    Raises:
        ValueError: if the page does not name the time once.
    """
    text, count = PHRASE.subn(phrase, page)
    if count != 1:
        raise ValueError(f"the time of the main job is named {count} times, expected once")
    return text


def main(
    seconds: Annotated[
        int | None, typer.Option(min=1, help="wall clock that was measured before", show_default="run the main job")
    ] = None,
) -> None:
    """Time the main job (or take a number), keep it, and write it into the pages."""
    if seconds is None:
        seconds = measure()
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    measured = Measured(seconds, os.cpu_count() or 1, head.stdout.strip())
    MEASURED.write_text(json.dumps(measured._asdict()) + "\n", "utf-8")
    for name in PAGES:
        page = ROOT / name
        page.write_text(with_phrase(page.read_text("utf-8"), measured.phrase()), "utf-8")
    print(f"{measured.phrase()} ({seconds} s)")


if __name__ == "__main__":
    typer.run(main)
