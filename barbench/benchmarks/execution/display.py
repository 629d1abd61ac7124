"""What a person sees while a matrix runs: one live line on a terminal, a line an epoch in a pipe."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from barbench.benchmarks.job import Job
from barbench.paper.mixtures import TASKS
from barbench.results.record import Record


def name_of(job: Job) -> str:
    cell = job.cell
    options = ",".join(f"{name}={value}" for name, value in cell.options.items())
    return f"{cell.method}{' ' * bool(cell.options)}{options} · {cell.backbone} · {cell.protocol} · seed {cell.seed}"


def clock(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def outcome(record: Record) -> str:
    """A finished cell in one line: mean IoU of each split with the swapped control, or why there is none."""
    if record.status != "done":
        return f"{record.status}: {record.reason}"
    parts = []
    for name, *_ in TASKS.get(record.cell.protocol).evaluated:
        split = record.splits[name]
        control = f" (swapped {100 * split.control.miou:.1f})" if split.control else ""
        parts.append(f"{name} {100 * split.scores.miou:.1f}{control}")
    return "mIoU " + ", ".join(parts)


class PlainDisplay:
    """Lines of text, for pipes and logs. `forecast`: seconds that each cell should take, by its id."""

    def __init__(self, console: Console, forecast: Mapping[str, float] | None = None) -> None:
        self.console, self.forecast = console, forecast or {}
        self.later: float | None = None
        self.jobs: list[Job] = []
        self.took: list[tuple[Job, float]] = []
        self.total = self.number = 0
        self.job: Job | None = None
        self.begun = self.first_step = 0.0
        self.first_done = 0

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, jobs: Sequence[Job], finished: int) -> None:
        self.jobs, self.total = list(jobs), len(jobs)
        done = f"; {finished} finished before, skipped" if finished else ""
        self.say(f"{len(jobs)} cell{'s' * (len(jobs) != 1)} to run{done}")

    def start(self, job: Job) -> None:
        self.job, self.begun, self.first_step = job, time.monotonic(), 0.0
        self.number += 1
        later = [self.expected(j) for j in self.jobs[self.number :]]
        told = [seconds for seconds in later if seconds is not None]
        self.later = sum(told) if later and len(told) == len(later) else None
        self.say(f"cell {self.number}/{self.total}  {name_of(job)}")

    def event(self, event: dict[str, Any]) -> None:
        if event["event"] == "step":
            left = self.left(event)
            if event["step"] == event["steps"]:
                self.say(f"  {self.training(event)}  {self.remaining(left)}")
        elif event["event"] == "note":
            self.note(event["text"])
        elif event["event"] == "phase" and event["name"].startswith("evaluating"):
            self.say(f"  {event['name']}")

    def end(self, record: Record) -> None:
        seconds = time.monotonic() - self.begun
        self.say(f"  {outcome(record)}  in {clock(seconds)}")
        if self.job is not None and record.status == "done":
            self.took.append((self.job, seconds))

    def note(self, text: str) -> None:
        self.say(f"  note: {text}")

    def stop(self) -> None:
        """However the run ended: what moves stands still from now on."""

    @staticmethod
    def training(event: dict[str, Any]) -> str:
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
        """`left 1:20`, and of all cells together where that can be told."""
        return f"left {clock(left)}" + (f", all {clock(left + self.later)}" if self.later else "")

    def left(self, event: dict[str, Any]) -> float:
        """Seconds of training left in this cell, by the pace of the steps seen so far."""
        done, now = (event["epoch"] - 1) * event["steps"] + event["step"], time.monotonic()
        if not self.first_step:
            self.first_step, self.first_done = now, done
        pace: float = (now - self.first_step) / max(done - self.first_done, 1)
        return pace * (int(event["epochs"]) * int(event["steps"]) - int(done))


class LiveDisplay(PlainDisplay):
    """The same, with one line that moves: which cell, epoch, loss, IoU, a bar, the time left in it."""

    def __init__(self, console: Console, forecast: Mapping[str, float] | None = None) -> None:
        super().__init__(console, forecast)
        self.live = Live(console=console, refresh_per_second=8, transient=True)

    def begin(self, jobs: Sequence[Job], finished: int) -> None:
        super().begin(jobs, finished)
        if jobs:
            self.live.start()

    def event(self, event: dict[str, Any]) -> None:
        if event["event"] == "step":
            done = (event["epoch"] - 1) * event["steps"] + event["step"]
            self.draw(self.training(event), done / (event["epochs"] * event["steps"]), self.left(event))
        elif event["event"] == "phase":
            self.draw(event["name"], None, None)
        elif event["event"] == "note":
            self.note(event["text"])

    def end(self, record: Record) -> None:
        super().end(record)
        if self.number == self.total:
            self.stop()

    def stop(self) -> None:
        self.live.stop()

    def draw(self, what: str, share: float | None, left: float | None) -> None:
        assert self.job is not None
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=share or 0.0, width=24, pulse=share is None)
        head = Text(f"{self.number}/{self.total} {self.job.cell.method}", style="bold")
        row.add_row(head, bar, Text(what), Text("" if left is None else self.remaining(left), style="cyan"))
        self.live.update(row)


def display_for(console: Console, forecast: Mapping[str, float] | None = None) -> PlainDisplay:
    return (LiveDisplay if console.is_terminal else PlainDisplay)(console, forecast)
