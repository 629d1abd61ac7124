"""The folder of a run under way, `results/.runs/<id>`: what was asked for, what its cells said, and whether to stop.

Everything that a run needs to know of its cells stands in files there, so that it matters to nobody on which host a
cell runs, nor whether the command that began the run is still alive.
"""

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from barbench.files import host_id, is_alive, write_atomically

FOLDER = ".runs"
STOP, LOGS = "stop", "slurm"


class RunFolder:
    """One run. `cells`: stem of each cell by its id; `handles`: what an executor calls its jobs, by the cell's id."""

    def __init__(self, path: Path) -> None:
        self.path, self.id = path, path.name
        self._fields: dict[str, Any] = {}

    @classmethod
    def make(cls, results: Path, executor: str, cells: Mapping[str, str], code: str) -> "RunFolder":
        """A new one."""
        name = time.strftime("%m%d-%H%M%S-") + secrets.token_hex(2)
        run = cls(results / FOLDER / name)
        run._fields = {"executor": executor, "host": host_id(), "process": os.getpid(), "code": code}
        run._fields |= {"begun": time.time(), "cells": dict(cells), "handles": {}}
        run._write()
        return run

    @classmethod
    def all(cls, results: Path) -> "list[RunFolder]":
        """Those of a results folder, oldest first."""
        return [cls(path.parent) for path in sorted((results / FOLDER).glob("*/run.json"))]

    @property
    def fields(self) -> dict[str, Any]:
        """What `make` wrote, as it was when first asked for."""
        if not self._fields:
            self._fields = json.loads((self.path / "run.json").read_text("utf-8"))
        return self._fields

    @property
    def executor(self) -> str:
        """Name of the executor that runs the cells."""
        return str(self.fields["executor"])

    @property
    def cells(self) -> dict[str, str]:
        """Stem of each cell by its id."""
        return dict(self.fields["cells"])

    @property
    def handles(self) -> dict[str, Any]:
        """What an executor calls its jobs, by the cell's id."""
        return dict(self.fields["handles"])

    def keep_handles(self, handles: Mapping[str, Any]) -> None:
        """Add to the handles: a later process finds the jobs by them."""
        self.fields["handles"] |= handles
        self._write()

    def take_over(self, cells: Mapping[str, str]) -> None:
        """This process leads the run from now on; it may have further cells."""
        self.fields.update(host=host_id(), process=os.getpid())
        self.fields["cells"] |= cells
        for asked in (
            self.path / STOP,
            *self.path.glob(f"*/{STOP}"),
        ):  # whoever asks for the run again wants it to go on
            asked.unlink(missing_ok=True)
        self._write()

    def exists(self) -> bool:
        """Whether this host sees the run, and it is not over."""
        return (self.path / "run.json").is_file()

    def is_led(self) -> bool | None:
        """Whether the process that leads the run is alive; None where it is on another host and cannot be asked."""
        return is_alive(self.fields["process"]) if self.fields["host"] == host_id() else None

    def remove(self) -> None:
        """The run is over. What Slurm's jobs printed stays, for a day at least: they may still be ending."""
        (self.path / "run.json").unlink(missing_ok=True)
        for each in self.path.glob("*"):
            if each.is_dir() and each.name != LOGS:
                shutil.rmtree(each, ignore_errors=True)
            elif each.name != LOGS:
                each.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()
            self.path.parent.rmdir()  # where it was the last

    def ask_to_stop(self, cell: str | None = None) -> None:
        """All cells, or one by its id, are to end with a checkpoint."""
        place = self.path / (cell or "")
        place.mkdir(exist_ok=True)
        (place / STOP).touch()

    def asked_to_stop(self, cell: str | None = None) -> bool:
        """Whether all cells, or this one by its id, are to end."""
        return (self.path / STOP).exists() or (cell is not None and (self.path / cell / STOP).exists())

    def folder(self, cell: str) -> Path:
        """Files about one cell."""
        return self.path / cell

    def events(self, cell: str) -> "Events":
        """What a cell says, by its id."""
        return Events(self.path / cell / "events.jsonl")

    def _write(self) -> None:
        write_atomically(self.path / "run.json", json.dumps(self._fields, indent=1).encode())


class Events:
    """What a cell said, one JSON object a line. One attempt at a time writes, anybody reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._told = 0.0

    def add(self, event: Mapping[str, Any]) -> None:
        """Keep an event; of steps and shares about one a second. A file that cannot be written ends no cell."""
        if event.get("share", 1.0) < 1 or (event["event"] == "step" and event["step"] != event["steps"]):
            if time.monotonic() - self._told < 1.0:
                return
            self._told = time.monotonic()
        with contextlib.suppress(OSError), self.path.open("a") as file:
            file.write(json.dumps(event) + "\n")

    def new(self) -> Iterator[dict[str, Any]]:
        """What was said since the last call, whole lines only."""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(self._read)
            *lines, rest = file.read().split(b"\n")
            self._read = file.tell() - len(rest)
            for line in lines:
                with contextlib.suppress(ValueError):  # cut by the death of its writer
                    event = json.loads(line)
                    if isinstance(event, dict) and "event" in event:
                        yield event
