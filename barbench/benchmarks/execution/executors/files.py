"""Cells that run elsewhere are followed by the files of the run's folder."""

from collections.abc import Iterable

from barbench.benchmarks.execution.executors.base import Ended, Told
from barbench.benchmarks.execution.run_folder import Events, RunFolder


class Followed:
    """What the cells of a run say, each in a file of its own."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._files: dict[str, Events] = {}

    def new(self, cells: Iterable[str]) -> list[Told]:
        """What `cells` said since the last call."""
        found: list[Told] = []
        for cell in list(cells):
            file = self._files.setdefault(cell, self._run.events(cell))
            for event in file.new():
                ended = event["event"] == "ended"
                found.append((cell, Ended(event["how"], event["said"], event["number"]) if ended else event))
        return found

    def skip(self, cell: str) -> Ended | None:
        """Pass over what a cell said so far; how its last attempt ended, if it did."""
        ends = [what for _, what in self.new([cell]) if isinstance(what, Ended)]
        return ends[-1] if ends else None
