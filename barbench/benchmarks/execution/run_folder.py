"""The folder of a run under way, `results/.runs/<id>`: its cells, their events, and whether they should stop.

A run keeps all it needs to know of its cells in files there, so that it does not matter on which host a cell runs, nor
whether the command that began the run still runs.
"""

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from barbench.files import host_id, is_alive, set_aside, write_atomically

FOLDER: Final = ".runs"
LOGS: Final = "slurm"
_STOP: Final = "stop"
_RUN: Final = "run.json"
_NEEDED: Final = {"executor", "host", "process", "cells", "handles"}


class RunFolder:
    """One run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self._fields: dict[str, Any] = {}

    @classmethod
    def make(cls, results: Path, executor: str, cells: Mapping[str, str], code: str) -> "RunFolder":
        """A new one; `cells` maps each cell's id to its stem."""
        # Names sort by time, and two runs of one second differ.
        name = time.strftime("%m%d-%H%M%S-") + secrets.token_hex(2)
        run = cls(results / FOLDER / name)
        run._fields = {
            "executor": executor,
            "host": host_id(),
            "process": os.getpid(),
            "code": code,
            "begun": time.time(),
            "cells": dict(cells),
            "handles": {},
        }
        run._write()
        return run

    @classmethod
    def all(cls, results: Path) -> "list[RunFolder]":
        """Those of a results folder that can be read, oldest first."""
        return [run for run in cls._found(results) if not run.fault]

    @classmethod
    def damaged(cls, results: Path) -> "list[RunFolder]":
        """Those of a results folder whose run.json cannot be read, as after a power failure; `fault` says why."""
        return [run for run in cls._found(results) if run.fault]

    @classmethod
    def _found(cls, results: Path) -> "list[RunFolder]":
        return [cls(path.parent) for path in sorted((results / FOLDER).glob(f"*/{_RUN}"))]

    @property
    def results(self) -> Path:
        """The results folder that it lies in."""
        return self.path.parent.parent

    @property
    def file(self) -> Path:
        """Where `fields` are stored."""
        return self.path / _RUN

    @property
    def fault(self) -> str:
        """What is wrong with run.json; empty if nothing is, or if the run was over meanwhile."""
        try:
            _ = self.fields
        except FileNotFoundError:
            return ""
        except ValueError as error:
            return str(error)
        return ""

    def set_aside(self) -> Path:
        """Rename a damaged run.json; its new path. Cells that still wait in a queue then refuse to begin."""
        [moved] = set_aside(self.file)
        return moved

    @property
    def fields(self) -> dict[str, Any]:
        """The content of run.json, as it was when first asked for. ValueError if it is not whole."""
        if not self._fields:
            content = self.file.read_text("utf-8")
            if not content.strip():
                raise ValueError("it is empty")
            fields = json.loads(content)
            missing = _NEEDED - fields.keys() if isinstance(fields, dict) else _NEEDED
            if missing:
                raise ValueError(f"it lacks {', '.join(sorted(missing))}")
            self._fields = fields
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

    def last_number(self, cell: str) -> int:
        """The number of the last attempt at a cell that was submitted or has ended; 0 if there was none."""
        numbers = [0]
        if cell in self.handles:
            numbers.append(int(self.handles[cell]["number"]))
        for event in self.events(cell).new():
            if event["event"] == "ended":
                numbers.append(int(event["number"]))
        return max(numbers)

    def take_over(self, cells: Mapping[str, str]) -> None:
        """This process leads the run from now on; it may have further cells, and earlier requests to stop are void."""
        self.fields.update(host=host_id(), process=os.getpid())
        self.fields["cells"] |= cells
        (self.path / _STOP).unlink(missing_ok=True)
        for request in self.path.glob(f"*/{_STOP}"):
            request.unlink(missing_ok=True)
        self._write()

    def exists(self) -> bool:
        """Whether this host sees the run, and it is not over."""
        return (self.path / _RUN).is_file()

    def is_led(self) -> bool | None:
        """Whether the process that leads the run is alive; None where it is on another host and cannot be asked."""
        return is_alive(self.fields["process"]) if self.fields["host"] == host_id() else None

    def remove(self) -> None:
        """The run is over. The output of Slurm's jobs stays, for a day at least: they may still be ending."""
        (self.path / _RUN).unlink(missing_ok=True)
        for each in self.path.glob("*"):
            if each.name == LOGS:
                continue
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)
        # Folders that are not empty stay.
        with contextlib.suppress(OSError):
            self.path.rmdir()
            self.path.parent.rmdir()

    def ask_to_stop(self, cell: str | None = None) -> None:
        """All cells, or one by its id, should end with a checkpoint."""
        folder = self.path / (cell or "")
        folder.mkdir(exist_ok=True)
        (folder / _STOP).touch()

    def asked_to_stop(self, cell: str | None = None) -> bool:
        """Whether all cells, or this one by its id, should end."""
        if (self.path / _STOP).exists():
            return True
        return cell is not None and (self.path / cell / _STOP).exists()

    def folder(self, cell: str) -> Path:
        """Files about one cell."""
        return self.path / cell

    def events(self, cell: str) -> "Events":
        """The events of a cell, by its id."""
        return Events(self.path / cell / "events.jsonl")

    def _write(self) -> None:
        write_atomically(self.path / _RUN, json.dumps(self._fields, indent=1).encode())


class Events:
    """The events of a cell, one JSON object per line. One attempt at a time writes, any process reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._kept = 0.0

    def add(self, event: Mapping[str, Any]) -> None:
        """Keep an event; of steps and shares about one per second. A file that cannot be written ends no cell."""
        # The end of a phase and of an epoch are always kept.
        is_partial = event.get("share", 1.0) < 1
        if event["event"] == "step":
            is_partial = event["step"] != event["steps"]
        if is_partial:
            if time.monotonic() - self._kept < 1.0:
                return
            self._kept = time.monotonic()
        with contextlib.suppress(OSError), self.path.open("a") as file:
            file.write(json.dumps({**event, "time": time.time()}) + "\n")

    def new(self) -> Iterator[dict[str, Any]]:
        """The events since the last call, whole lines only."""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(self._offset)
            *lines, rest = file.read().split(b"\n")
            self._offset = file.tell() - len(rest)
            for line in lines:
                with contextlib.suppress(ValueError):  # cut by the death of its writer
                    event = json.loads(line)
                    if isinstance(event, dict) and "event" in event:
                        yield event
