"""What a worker process is told: the cell to run, and where and on what, which cannot change its result."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from barbench.engine.recipe import Recipe
from barbench.errors import printable
from barbench.results.record import Cell, Record
from barbench.results.store import Store


class Job(BaseModel):
    """`backbone` finds the backbone in any process; `weights_path` is a file where the cell's
    weights are one; in `cache` letterboxed images are kept."""

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
    workers: int
    checkpoint_seconds: float
    cache: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def scratch(self) -> Path:
        return Store(self.results).scratch(self.cell)

    @property
    def checkpoint(self) -> Path:
        return self.scratch / "checkpoint.pt"

    @property
    def tuned(self) -> Path:
        return Store(self.results).tuned(self.cell)

    @property
    def traceback(self) -> Path:
        return self.scratch / "traceback.txt"

    def halved(self) -> Self | None:
        """The cell with micro-batches of half the size, which is another cell: batch norms see a micro-batch alone.

        The batch that a step of the optimizer sees stays. None where half a micro-batch has fewer than two samples, or
        the batch does not divide.
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
        """The record of this cell where it did not finish."""
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
