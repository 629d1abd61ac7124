"""What a worker process is given: the cell, and where and with what it runs, which cannot change the cell's result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter

from barbench.errors import printable
from barbench.files import write_atomically
from barbench.models.efficient.kernels import Kernels
from barbench.results.record import AttemptLog, Cell, Record
from barbench.results.store import Store
from barbench.spec.recipe import Recipe

AUTO: Final = "auto"
_LOGS = TypeAdapter(tuple[AttemptLog, ...])


class Job(BaseModel):
    """A cell, and how it runs.

    What belongs to a host may be open until the cell is there (`resolve_on_host`).

    Attributes:
        cell: everything that can change its result.
        backbone: what `load_backbone` accepts in any process.
        title: of the method, in tables.
        composition: labels of the method's components.
        weights_path: the file of the cell's weights; None if they are a tag.
        data_root: a folder in REFER layout.
        results: folder of the records.
        device: as torch names it.
        threads: of torch, per process; 0: open.
        workers: processes that load images, per process; None: open.
        checkpoint_seconds: between two checkpoints.
        cache: folder of letterboxed images; None for none; `auto`: open.
        notes: for the record.
        cores: share of the host; 0: all that the process may use.
        attempts: those of before, and last the one under way.
        place: what the record tells of it.
        tracker: that also gets losses and scores: tensorboard, wandb or trackio.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: Cell
    backbone: str
    title: str
    composition: tuple[str, ...]
    weights_path: Path | None
    data_root: Path
    results: Path
    device: str
    threads: int
    workers: int | None
    checkpoint_seconds: float
    cache: Path | Literal["auto"] | None = None
    kernels: Kernels = "auto"
    notes: tuple[str, ...] = ()
    cores: int = 0
    attempts: tuple[AttemptLog, ...] = ()
    place: dict[str, JsonValue] = {}
    tracker: str | None = None

    @property
    def scratch(self) -> Path:
        """The cell's own folder."""
        return Store(self.results).scratch(self.cell)

    @property
    def checkpoint(self) -> Path:
        """The state of an unfinished training."""
        return self.scratch / "checkpoint.pt"

    @property
    def attempts_file(self) -> Path:
        """What is known of the attempts at an unfinished cell."""
        return self.scratch / "attempts.json"

    def read_attempts(self) -> tuple[AttemptLog, ...]:
        """Those at this cell that left no record of it being done; the last may be under way."""
        return _LOGS.validate_json(self.attempts_file.read_bytes()) if self.attempts_file.exists() else ()

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
        """The cell with micro-batches of half the size. It is another cell, because batch norms see one micro-batch at
        a time.

        Returns:
            A job whose optimizer steps still see the same batch; None if half a micro-batch has fewer than two samples,
                or if the batch does not divide.
        """
        recipe = Recipe.model_validate(self.cell.recipe)
        parts = 2 * recipe.accumulate * self.cell.processes
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
        """Make the record of this cell for when it did not finish.

        Args:
            status: how it ended.
            reason: why, in one line.
            peak_memory_bytes: kept for a cell that ran out of memory.

        Returns:
            A record without scores.
        """
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
    """Steps and device of an attempt, from its events."""

    def __init__(self) -> None:
        self._steps: tuple[int, int] | None = None
        self._device: str | None = None

    def add(self, event: Mapping[str, Any]) -> None:
        """Take note of an event."""
        if event["event"] == "step":
            step = (event["epoch"] - 1) * event["steps"] + event["step"]
            first = step if self._steps is None else self._steps[0]
            self._steps = (first, step)
        elif event["event"] == "device":
            self._device = event["name"]

    def complete(self, log: AttemptLog, how: str, seconds: float) -> AttemptLog:
        """`log` of an attempt that has ended, with its end, duration, steps and device."""
        return log.model_copy(update={"how": how, "seconds": seconds, "steps": self._steps, "device": self._device})
