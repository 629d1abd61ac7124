"""What a worker process is told: the cell to run, and where and on what, which cannot change its result."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from barbench.results.record import Cell, Record
from barbench.results.store import Store


class Job(BaseModel):
    """`reference` finds the method in any process, `backbone` the backbone; `weights_path` is a file where the cell's
    weights are one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: Cell
    reference: str
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

    @property
    def scratch(self) -> Path:
        return Store(self.results).scratch(self.cell)

    @property
    def checkpoint(self) -> Path:
        return self.scratch / "checkpoint.pt"

    @property
    def tuned(self) -> Path:
        return Store(self.results).tuned(self.cell)

    def failure(self, status: Literal["failed", "out-of-memory"], reason: str) -> Record:
        """The record of this cell where it did not finish."""
        return Record(
            id=self.cell.id(),
            cell=self.cell,
            title=self.title,
            composition=self.composition,
            ledger={},
            status=status,
            reason=reason,
        )
