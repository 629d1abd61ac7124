"""What a person sees while a matrix runs: one live line per cell on a terminal, one line per epoch in a pipe."""

import heapq
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from barbench.benchmarks.job import Job
from barbench.metrics import METRICS
from barbench.results.record import Record


def name_of(job: Job) -> str:
    """A cell in one line: method with its options, backbone, protocol, seed."""
    cell = job.cell
    options = ",".join(f"{name}={value}" for name, value in cell.options.items())
    return f"{cell.method}{' ' * bool(cell.options)}{options} · {cell.backbone} · {cell.protocol} · seed {cell.seed}"


def clock(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def makespan(under_way: Sequence[float], later: Sequence[float], slots: int) -> float:
    """Seconds until the last cell ends.

    Args:
        under_way: seconds that are left of each cell that runs.
        later: seconds of each that has not begun, in their order; each takes the slot that is free first.
        slots: cells at a time.

    Returns:
        Seconds, 0 or more.
    """
    free = [*under_way, *[0.0] * (slots - len(under_way))]
    heapq.heapify(free)
    for seconds in later:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def outcome(record: Record) -> str:
    """A finished cell in one line: mean IoU of each split with the swapped control, or why there is none."""
    if record.status != "done":
        return f"{record.status}: {record.reason}"
    parts = []
    for name in record.split_names():
        split = record.splits[name]
        control = f" (swapped {100 * split.control.mean:.1f})" if split.control else ""
        parts.append(f"{name} {100 * split.scores.mean:.1f}{control}")
    ranking = next(iter(record.splits.values())).scores.mean_name
    return f"{METRICS[ranking].label} {', '.join(parts)}"


@dataclass
class _Cell:
    """A cell under way: its number in the run, when it began, and its first step, for the pace."""

    job: Job
    number: int
    begun: float
    first_step: float = 0.0
    first_done: int = 0

    def left(self, event: dict[str, Any]) -> float:
        """Seconds of training left in this cell, by the pace of the steps seen so far."""
        done, now = (event["epoch"] - 1) * event["steps"] + event["step"], time.monotonic()
        if not self.first_step:
            self.first_step, self.first_done = now, done
        pace: float = (now - self.first_step) / max(done - self.first_done, 1)
        return pace * (int(event["epochs"]) * int(event["steps"]) - int(done))


class PlainDisplay:
    """Lines of text, for pipes and logs.

    Args:
        console: where the lines go.
        forecast: seconds that each cell should take, by its id.
        slots: cells that run at the same time; None where a cluster decides that.
    """

    def __init__(self, console: Console, forecast: Mapping[str, float] | None = None, slots: int | None = 1) -> None:
        self.console, self.forecast, self.slots = console, forecast or {}, slots
        self.jobs: list[Job] = []
        self.took: list[tuple[Job, float]] = []
        self.cells: dict[str, _Cell] = {}
        self.lefts: dict[str, float] = {}
        self.begun = 0
        self.seen: set[str] = set()

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, jobs: Sequence[Job], finished: int) -> None:
        """Of the cells to run, in their order, and how many were finished before."""
        self.jobs = list(jobs)
        done = f"; {finished} finished before, skipped" if finished else ""
        at_once = f", {self.slots} at a time" if self.slots and self.slots > 1 and len(jobs) > 1 else ""
        self.say(f"{len(jobs)} cell{'s' * (len(jobs) != 1)} to run{at_once}{done}")

    def start(self, job: Job) -> None:
        """A cell's first worker began."""
        self.begun += 1
        self.seen.add(job.cell.id())
        self.cells[job.cell.id()] = _Cell(job, self.begun, time.monotonic())
        self.say(f"cell {self.begun}/{len(self.jobs)}  {name_of(job)}")

    def event(self, job: Job, event: dict[str, Any]) -> None:
        """What a worker says of its cell: a step, a phase, a note."""
        if event["event"] == "step":
            left = self.lefts[job.cell.id()] = self.cells[job.cell.id()].left(event)
            if event["step"] == event["steps"]:
                self.tell(job, f"{self.training(event)}  {self.remaining(left)}")
        elif event["event"] == "note":
            self.tell(job, f"note: {event['text']}")
        elif event["event"] == "phase" and event["name"].startswith("evaluating"):
            self.tell(job, event["name"])
        elif event.get("share") == 1:
            self.tell(job, f"{event['name']}, done")

    def tell(self, job: Job, text: str) -> None:
        """A line about one cell, with its number where several run at the same time."""
        number = f"{self.cells[job.cell.id()].number}/{len(self.jobs)}  " if self.slots != 1 else ""
        self.say(f"  {number}{text}")

    def end(self, job: Job, record: Record) -> None:
        """A cell is settled, with the record that it left."""
        seconds = time.monotonic() - self.cells[job.cell.id()].begun
        self.tell(job, f"{outcome(record)}  in {clock(seconds)}")
        del self.cells[job.cell.id()]
        self.lefts.pop(job.cell.id(), None)
        if record.status == "done":
            self.took.append((job, seconds))

    def note(self, text: str) -> None:
        """A line about the run."""
        self.say(f"  note: {text}")

    def stop(self) -> None:
        """However the run ended: what moves stands still from now on."""

    @staticmethod
    def training(event: dict[str, Any]) -> str:
        """How training stands at a step: epoch, running loss, mean IoU of the batch."""
        return f"epoch {event['epoch']}/{event['epochs']}  loss {event['loss']:.4f}  batch IoU {event['iou']:.2f}"

    def expected(self, job: Job) -> float | None:
        """Seconds of a cell that has not begun: its forecast, corrected by how far this run's cells were off theirs;
        without one, as long as those took on average. None where nothing tells."""
        told = [(seconds, self.forecast[j.cell.id()]) for j, seconds in self.took if j.cell.id() in self.forecast]
        if job.cell.id() in self.forecast:
            taken, foretold = (sum(values) for values in zip(*told, strict=True)) if told else (1.0, 1.0)
            return self.forecast[job.cell.id()] * taken / foretold
        return sum(seconds for _, seconds in self.took) / len(self.took) if self.took else None

    def remaining(self, left: float) -> str:
        """`left 1:20`, and of the whole run where that can be told."""
        later = [self.expected(job) for job in self.jobs if job.cell.id() not in self.seen]
        known = [seconds for seconds in later if seconds is not None]
        if not later or len(known) < len(later):
            return f"left {clock(left)}"
        under_way = list(self.lefts.values()) if self.slots != 1 else [left]
        return f"left {clock(left)}, all {clock(makespan(under_way, known, self.slots or len(under_way)))}"


class LiveDisplay(PlainDisplay):
    """The same, with one line that moves for each cell: its epoch, loss, IoU, a bar, the time left."""

    def __init__(self, console: Console, forecast: Mapping[str, float] | None = None, slots: int | None = 1) -> None:
        super().__init__(console, forecast, slots)
        self.live = Live(console=console, refresh_per_second=8, transient=True)
        self.rows: dict[str, tuple[Text | ProgressBar, ...]] = {}

    def begin(self, jobs: Sequence[Job], finished: int) -> None:
        """Starts the moving part, where there is anything to run."""
        super().begin(jobs, finished)
        if jobs:
            self.live.start()

    def event(self, job: Job, event: dict[str, Any]) -> None:
        """Steps and phases move the cell's line; a note is printed above it."""
        if event["event"] == "step":
            left = self.lefts[job.cell.id()] = self.cells[job.cell.id()].left(event)
            done = (event["epoch"] - 1) * event["steps"] + event["step"]
            self.draw(job, self.training(event), done / (event["epochs"] * event["steps"]), left)
        elif event["event"] == "phase":
            self.draw(job, event["name"], event.get("share"), None)
        elif event["event"] == "note":
            self.tell(job, f"note: {event['text']}")

    def end(self, job: Job, record: Record) -> None:
        """The cell's line gives way to what it reached."""
        super().end(job, record)
        self.rows.pop(job.cell.id(), None)
        self.update()
        if self.begun == len(self.jobs) and not self.cells:
            self.stop()

    def stop(self) -> None:
        """Gives the terminal back."""
        self.live.stop()

    def draw(self, job: Job, what: str, share: float | None, left: float | None) -> None:
        """Set a cell's line.

        Args:
            job: the cell.
            what: it does.
            share: of it that is done, 0 to 1; None: not known, and the bar pulses.
            left: seconds of training; None: not known.
        """
        bar = ProgressBar(total=1.0, completed=share or 0.0, width=24, pulse=share is None)
        number = self.cells[job.cell.id()].number
        head = Text(f"{number}/{len(self.jobs)} {job.cell.method}", style="bold")
        time_left = Text("" if left is None else self.remaining(left), style="cyan")
        self.rows[job.cell.id()] = (head, bar, Text(what), time_left)
        self.update()

    def update(self) -> None:
        """Draw all lines anew."""
        table = Table.grid(padding=(0, 1))
        for row in self.rows.values():
            table.add_row(*row)
        self.live.update(table)


def display_for(console: Console, forecast: Mapping[str, float] | None = None, slots: int | None = 1) -> PlainDisplay:
    """Live on a terminal, plain in a pipe; the arguments are those of `PlainDisplay`."""
    return (LiveDisplay if console.is_terminal else PlainDisplay)(console, forecast, slots)
