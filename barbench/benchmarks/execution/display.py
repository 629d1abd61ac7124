"""What a person sees while a matrix runs: one live line per cell on a terminal, one line per epoch in a pipe."""

import heapq
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from barbench.benchmarks.job import Job
from barbench.metrics import METRICS
from barbench.results.record import Record
from barbench.spec.text import plural


def name_of(job: Job) -> str:
    """A cell in one line: method with its chosen options, backbone, data set, seed."""
    cell = job.cell
    method = cell.method
    if cell.chosen:
        method += " " + ",".join(f"{name}={value}" for name, value in cell.chosen.items())
    head = ""
    if cell.neck or cell.head_form:
        head = f" · {cell.head_words}"
    return f"{method} · {cell.backbone}{head} · {cell.dataset} · seed {cell.seed}"


def clock(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}"


def makespan(under_way: Sequence[float], later: Sequence[float], slots: int) -> float:
    """Seconds until the last cell ends.

    Args:
        under_way: seconds that are left of each cell that runs.
        later: seconds of each that has not begun, in their order; each takes the slot that is free first.
        slots: cells at a time.
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
        part = f"{name} {100 * split.scores.mean:.1f}"
        if split.control:
            part += f" (swapped {100 * split.control.mean:.1f})"
        parts.append(part)
    ranking = next(iter(record.splits.values())).scores.mean_name
    return f"{METRICS[ranking].label} {', '.join(parts)}"


class _Cell:
    """A cell under way: its number in the run, when it began, and its first step, for the pace."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.begun = time.monotonic()
        self.left: float | None = None  # seconds; None before there is a pace
        self.trained: float | None = None  # when its last step ended
        self._first_time: float | None = None
        self._first_step = 0
        self._evaluation: float | None = None  # when it began
        self._before = 0.0
        self._size = 1.0

    def add_step(self, event: Mapping[str, Any]) -> float | None:
        """Seconds of training left in this cell, by the pace of the steps seen so far; None at the first."""
        now = time.monotonic()
        step = steps_done(event)
        total = event["epochs"] * event["steps"]
        if step >= total:
            self.trained = now
        if self._first_time is None:
            self._first_time = now
            self._first_step = step
        # Steps before the first one seen here may be those of an earlier attempt.
        seen = step - self._first_step
        self.left = (now - self._first_time) / seen * (total - step) if seen else None
        return self.left

    def begin_split(self, event: Mapping[str, Any]) -> None:
        """The evaluation of a split begins: `before` is the share of all that is done, `size` the split's own."""
        self._before = event.get("before", 0.0)
        self._size = event.get("size", 1.0)
        if self._evaluation is None:
            self._evaluation = time.monotonic()
            self.left = None

    def add_scored(self, event: Mapping[str, Any]) -> float | None:
        """Seconds of evaluation left in this cell, by the share of all splits that is done."""
        done = self._before + self._size * event["done"] / event["of"]
        if self._evaluation is not None and done > 0:
            spent = time.monotonic() - self._evaluation
            self.left = spent / done * (1 - done)
        return self.left


def steps_done(event: Mapping[str, Any]) -> int:
    """Steps of all epochs so far."""
    return int((event["epoch"] - 1) * event["steps"] + event["step"])


def is_evaluation(event: Mapping[str, Any]) -> bool:
    """Whether an event says that the evaluation of a split begins."""
    return event["event"] == "phase" and str(event["name"]).startswith("evaluating")


def scoring(event: Mapping[str, Any]) -> str:
    """How far the evaluation of a split is, and its mean IoU so far."""
    return f"evaluating {event['split']}  {event['done']:,}/{event['of']:,}  mIoU {100 * event['miou']:.1f}"


def training(event: Mapping[str, Any]) -> str:
    """A training step: epoch, running loss, mean IoU of the batch."""
    return f"epoch {event['epoch']}/{event['epochs']}  loss {event['loss']:.4f}  batch IoU {event['iou']:.2f}"


class PlainDisplay:
    """Lines of text, for pipes and logs.

    Args:
        forecast: seconds that each cell should take, by its id.
        slots: cells that run at the same time; None where a cluster decides that.
    """

    def __init__(self, console: Console, forecast: Mapping[str, float] | None = None, slots: int | None = 1) -> None:
        self.console = console
        self.forecast = forecast or {}
        self.slots = slots
        self.jobs: list[Job] = []
        self.cells: dict[str, _Cell] = {}  # under way, by id
        self.begun: set[str] = set()
        self.took: list[tuple[Job, float]] = []  # seconds of each finished cell
        self.tails: list[float] = []  # of which so many came after its training

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, jobs: Sequence[Job], finished: int) -> None:
        """Say how many cells run, and how many were finished before."""
        self.jobs = list(jobs)
        text = f"{plural(len(jobs), 'cell')} to run"
        if self.slots and self.slots > 1 and len(jobs) > 1:
            text += f", {self.slots} at a time"
        if finished:
            text += f"; {finished} finished before, skipped"
        self.say(text)

    def start(self, job: Job) -> None:
        """A cell's first worker began."""
        cell = job.cell.id()
        self.begun.add(cell)
        number = len(self.begun)
        self.cells[cell] = _Cell(number)
        self.say(f"cell {number}/{len(self.jobs)}  {name_of(job)}")

    def event(self, job: Job, event: dict[str, Any]) -> None:
        """A step, a phase or a note of a cell."""
        if event["event"] == "step":
            left = self.left_after(job, event)
            if event["step"] == event["steps"]:
                self.say_of(job, f"{training(event)}  {left}".rstrip())
        elif event["event"] == "note":
            self.say_of(job, f"note: {event['text']}")
        elif event["event"] == "scored":
            self.cells[job.cell.id()].add_scored(event)
        elif is_evaluation(event):
            self.cells[job.cell.id()].begin_split(event)
            self.say_of(job, event["name"])
        elif event.get("share") == 1:
            self.say_of(job, f"{event['name']}, done")

    def left_after(self, job: Job, event: Mapping[str, Any]) -> str:
        """The time left after a step, with the evaluation as far as other cells of this run say how long it takes."""
        cell = self.cells[job.cell.id()]
        left = cell.add_step(event)
        if left is None:
            return ""
        if self.tails:
            cell.left = left + sum(self.tails) / len(self.tails)
            return self.remaining(cell.left)
        return self.remaining(left, "training left")

    def say_of(self, job: Job, text: str) -> None:
        """A line about one cell, with the time, its number and its method."""
        number = self.cells[job.cell.id()].number
        beginning = f"{self.stamp()}{number}/{len(self.jobs)}"
        self.say(f"  {beginning} {job.cell.method}  {text}")

    def stamp(self) -> str:
        """The time of day, in front of a line of a log."""
        return time.strftime("%H:%M:%S  ")

    def end(self, job: Job, record: Record) -> None:
        """A cell has its record."""
        cell = self.cells[job.cell.id()]
        now = time.monotonic()
        self.say_of(job, f"{outcome(record)}  in {clock(now - cell.begun)}")
        del self.cells[job.cell.id()]
        if record.status == "done":
            self.took.append((job, now - cell.begun))
            if cell.trained is not None:
                self.tails.append(now - cell.trained)

    def note(self, text: str) -> None:
        """A line about the run."""
        self.say(f"  note: {text}")

    def stop(self) -> None:
        """However the run ended: nothing moves from now on."""

    def expected(self, job: Job) -> float | None:
        """Seconds of a cell that has not begun: its forecast, corrected by how far this run's cells were off theirs;
        without one, as long as those took on average. None where nothing is known."""
        seconds = self.forecast.get(job.cell.id())
        if seconds is None:
            return sum(taken for _, taken in self.took) / len(self.took) if self.took else None
        # The ratio over all cells, not the mean of their ratios: long ones say more.
        taken_in_all = 0.0
        forecast_in_all = 0.0
        for other, taken in self.took:
            if other.cell.id() in self.forecast:
                taken_in_all += taken
                forecast_in_all += self.forecast[other.cell.id()]
        return seconds * taken_in_all / forecast_in_all if forecast_in_all else seconds

    def remaining(self, left: float | None, what: str = "left") -> str:
        """`left 1:20`, and of the whole run where that can be known; nothing where less than a second is left, or where
        it is not known how much."""
        if left is None or left < 0.5:
            return ""
        text = f"{what} {clock(left)}"
        # The whole run: each cell that has not begun needs an expectation.
        later = [self.expected(job) for job in self.jobs if job.cell.id() not in self.begun]
        known = [seconds for seconds in later if seconds is not None]
        if not later or len(known) < len(later):
            return text
        # Cells under way that have no step yet count as free slots.
        under_way = [left]
        if self.slots != 1:
            lefts = [cell.left for cell in self.cells.values()]
            under_way = [seconds for seconds in lefts if seconds is not None]
        seconds = makespan(under_way, known, self.slots or len(under_way))
        return f"{text}, all {clock(seconds)}"


class LiveDisplay(PlainDisplay):
    """The same, with one line that moves for each cell: its epoch, loss, IoU, a bar, the time left."""

    def __init__(self, console: Console, forecast: Mapping[str, float] | None = None, slots: int | None = 1) -> None:
        super().__init__(console, forecast, slots)
        self.progress = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[what]}", markup=False),
            TextColumn("{task.fields[left]}", style="cyan", markup=False),
            console=console,
            refresh_per_second=8,
            transient=True,
        )
        self.lines: dict[str, TaskID] = {}

    def begin(self, jobs: Sequence[Job], finished: int) -> None:
        """Starts the moving part, where there is anything to run."""
        super().begin(jobs, finished)
        if jobs:
            self.progress.start()

    def start(self, job: Job) -> None:
        """A cell has a line from its first moment."""
        super().start(job)
        title = f"{len(self.begun)}/{len(self.jobs)} {job.cell.method}"
        self.lines[job.cell.id()] = self.progress.add_task(title, start=False, total=1.0, what="starting", left="")

    def event(self, job: Job, event: dict[str, Any]) -> None:
        """Steps and phases move the cell's line; a note is printed above it."""
        if event["event"] == "step":
            share = steps_done(event) / (event["epochs"] * event["steps"])
            self.draw(job, training(event), share, self.left_after(job, event))
        elif event["event"] == "scored":
            left = self.cells[job.cell.id()].add_scored(event)
            self.draw(job, scoring(event), event["done"] / event["of"], self.remaining(left))
        elif event["event"] == "phase":
            if is_evaluation(event):
                self.cells[job.cell.id()].begin_split(event)
            self.draw(job, event["name"], event.get("share"))
        elif event["event"] == "note":
            self.say_of(job, f"note: {event['text']}")

    def end(self, job: Job, record: Record) -> None:
        """The cell's outcome replaces its line."""
        super().end(job, record)
        self.progress.remove_task(self.lines.pop(job.cell.id()))
        if len(self.begun) == len(self.jobs) and not self.cells:
            self.stop()

    def stamp(self) -> str:
        """Nothing: a person is there."""
        return ""

    def stop(self) -> None:
        """Gives the terminal back."""
        self.progress.stop()

    def draw(self, job: Job, what: str, share: float | None, left: str = "") -> None:
        """Set a cell's line; a share of None is not known, and the bar pulses."""
        line = self.lines[job.cell.id()]
        # A bar without a start pulses.
        if share is None:
            self.progress.reset(line, start=False)
        else:
            self.progress.start_task(line)
        self.progress.update(line, completed=share or 0.0, what=what, left=left)


def display_for(console: Console, forecast: Mapping[str, float] | None = None, slots: int | None = 1) -> PlainDisplay:
    """Live on a terminal, plain in a pipe; the arguments are those of `PlainDisplay`."""
    return (LiveDisplay if console.is_terminal else PlainDisplay)(console, forecast, slots)
