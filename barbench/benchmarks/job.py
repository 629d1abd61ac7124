"""What a worker process is given: the cell, and where and with what it runs, which cannot change the cell's result."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from barbench.errors import printable
from barbench.files import write_atomically
from barbench.results.record import AttemptLog, Cell, Record
from barbench.results.store import Store
from barbench.spec.dataset import Dataset
from barbench.spec.recipe import Recipe
from barbench.spec.run import Place

_LOGS = TypeAdapter(tuple[AttemptLog, ...])


class Files(BaseModel):
    """Where the inputs of a cell lie on the host that made the job.

    Attributes:
        weights: what `load_backbone` accepts on that host, where the cell's weights are files; None if they are tags.
        data: a folder in REFER layout.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    weights: str | None
    data: Path


class Job(BaseModel):
    """A cell, and how it runs.

    Attributes:
        cell: everything that can change its result.
        attempts: earlier ones, and last the one under way.
        cores: share of the host; 0: all that the process may use.
        neighbours: cells that run on the host at the same time, this one included; None: not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: Cell
    dataset: Dataset
    place: Place
    files: Files
    title: str
    composition: tuple[str, ...]
    notes: tuple[str, ...] = ()
    attempts: tuple[AttemptLog, ...] = ()
    cores: int = 0
    neighbours: int | None = None

    @property
    def results(self) -> Path:
        """Folder of the records."""
        return self.place.results

    @property
    def recipe(self) -> Recipe:
        """The cell's recipe, with its method's own learning rates."""
        return self.cell.training_recipe

    @property
    def weights(self) -> str:
        """The weights as `load_backbone` accepts them on this host."""
        return self.files.weights or self.cell.weights

    def at(self, **changes: Any) -> Self:
        """The same cell at a place of which some fields differ."""
        return self.model_copy(update={"place": self.place.model_copy(update=changes)})

    @property
    def scratch(self) -> Path:
        """The cell's own folder."""
        return Store(self.results).scratch(self.cell)

    @property
    def checkpoint(self) -> Path:
        """The state of an unfinished training."""
        return self.scratch / "checkpoint.pt"

    @property
    def evaluation(self) -> Path:
        """The folder of what an unfinished evaluation has scored."""
        return self.scratch / "evaluation"

    def remove_unfinished(self) -> None:
        """Remove what only an unfinished cell needs: its checkpoint, and what an evaluation has scored so far."""
        self.checkpoint.unlink(missing_ok=True)
        shutil.rmtree(self.evaluation, ignore_errors=True)

    @property
    def attempts_file(self) -> Path:
        """What is known of the attempts at an unfinished cell."""
        return self.scratch / "attempts.json"

    def read_attempts(self) -> tuple[AttemptLog, ...]:
        """Those at this cell that left no record of it being done; the last may be under way."""
        try:
            return _LOGS.validate_json(self.attempts_file.read_bytes())
        except (FileNotFoundError, ValidationError):  # the second after a power failure: earlier attempts are forgotten
            return ()

    def write_attempts(self, attempts: tuple[AttemptLog, ...]) -> None:
        """Replace `attempts_file`."""
        write_atomically(self.attempts_file, _LOGS.dump_json(attempts))

    @property
    def lease(self) -> Path:
        """The marker of whoever runs the cell."""
        return self.scratch / ".lease"

    @property
    def tuned(self) -> Path:
        """The weights that training changed."""
        return Store(self.results).tuned(self.cell)

    @property
    def traceback(self) -> Path:
        """Where the traceback of a failure is written."""
        return self.scratch / "traceback.txt"

    def halved(self) -> Self | None:
        """The cell with micro-batches of half the size, whose optimizer steps still see the same batch; None if half a
        micro-batch has fewer than two samples, or if the batch does not divide. It is another cell, because batch norms
        see one micro-batch at a time."""
        recipe = self.recipe
        parts = 2 * recipe.accumulate * self.cell.processes
        # Half a micro-batch must have two samples at least, for batch norms.
        if recipe.batch % parts or recipe.batch // parts < 2:
            return None
        changes = {"accumulate": 2 * recipe.accumulate, "eval_batch": max(1, recipe.eval_batch // 2)}
        smaller = recipe.model_copy(update=changes | {"name": recipe.name.rstrip("*") + "*"})
        note = (
            f"cell {self.cell.id()} ran out of memory; here each batch of {recipe.batch} is {smaller.accumulate} "
            f"micro-batches, and batch norms see {recipe.batch // parts} samples at a time"
        )
        cell = self.cell.model_copy(update={"recipe": smaller.fields()})
        return self.model_copy(update={"cell": cell, "notes": (*self.notes, note)})

    def failure(
        self, status: Literal["failed", "out-of-memory"], reason: str, peak_memory_bytes: int | None = None
    ) -> Record:
        """Make the record of this cell, without scores, for when it did not finish."""
        return Record(
            id=self.cell.id(),
            cell=self.cell,
            title=self.title,
            composition=self.composition,
            ledger={},
            status=status,
            reason=printable(reason),
            peak_memory_bytes=peak_memory_bytes if status == "out-of-memory" else None,
            notes=self.notes,
        )


class AttemptProgress:
    """Steps, scored expressions and device of an attempt, from its events."""

    def __init__(self) -> None:
        self._steps: tuple[int, int] | None = None
        self._scored: int | None = None
        self._device: str | None = None

    def add(self, event: Mapping[str, Any]) -> None:
        """Take note of an event."""
        if event["event"] == "step":
            step = (event["epoch"] - 1) * event["steps"] + event["step"]
            first = step if self._steps is None else self._steps[0]
            self._steps = (first, step)
        elif event["event"] == "scored":
            self._scored = (self._scored or 0) + event["new"]
        elif event["event"] == "device":
            self._device = event["name"]

    def complete(self, log: AttemptLog, how: str, seconds: float) -> AttemptLog:
        """`log` of an attempt that has ended, with its end, duration, steps, scored expressions and device."""
        found = {"steps": self._steps, "scored": self._scored, "device": self._device}
        return log.model_copy(update={"how": how, "seconds": seconds, **found})
