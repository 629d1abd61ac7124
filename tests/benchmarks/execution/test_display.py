"""What a person sees: plain lines in a pipe, one moving line on a terminal."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from barbench.benchmarks.execution import display as progress
from barbench.benchmarks.execution.display import LiveDisplay, PlainDisplay, clock, display_for, makespan, outcome
from barbench.benchmarks.job import Job
from barbench.results.record import Record, Scores, SplitResult
from tests.benchmarks.conftest import MakeJobs


@pytest.fixture
def job(make_jobs: MakeJobs, tmp_path: Path) -> Job:
    return make_jobs(tmp_path)[0]


def done(job: Job, control: bool = True) -> Record:
    good = Scores(miou=0.61234, oiou=0.6, p50=0.7, p60=0.6, p70=0.5, p80=0.3, p90=0.1, n=9)
    bad = good.model_copy(update={"miou": 0.05})
    split = SplitResult(scores=good, control=bad if control else None, column="val(g)", images=3, references=4)
    return Record(
        id=job.cell.id(), cell=job.cell, title="x", composition=(), ledger={}, status="done", splits={"val": split}
    )


def step(epoch: int, number: int) -> dict[str, Any]:
    return {
        "event": "step", "epoch": epoch, "epochs": 2, "step": number, "steps": 5, "loss": 0.25, "iou": 0.5, "lr": 1e-3
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3599, "59:59"), (3600, "1:00:00"), (9e4, "25:00:00")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_an_outcome_in_a_line(job: Job) -> None:
    assert outcome(done(job)) == "mIoU val 61.2 (swapped 5.0)"
    assert outcome(done(job, control=False)) == "mIoU val 61.2"
    assert outcome(job.failure("out-of-memory", "it was too much")) == "out-of-memory: it was too much"


def told(display: PlainDisplay, job: Job) -> None:
    display.begin([job, job], 3)
    display.start(job)
    display.event(job, {"event": "phase", "name": "loading"})
    for share in (0.5, 1.0):
        display.event(job, {"event": "phase", "name": "calibrating", "share": share})
    for epoch in (1, 2):
        for number in range(1, 6):
            display.event(job, step(epoch, number))
    display.event(job, {"event": "phase", "name": "evaluating val"})
    display.event(job, {"event": "note", "text": "a [bold]note[/odd]"})
    display.end(job, done(job))
    display.start(job)
    display.end(job, job.failure("failed", "for [a] reason"))


def test_a_pipe_gets_a_line_an_epoch(job: Job) -> None:
    out = io.StringIO()
    display = display_for(Console(file=out, width=60))
    assert type(display) is PlainDisplay
    told(display, job)
    lines = out.getvalue().splitlines()
    assert lines[0] == "2 cells to run; 3 finished before, skipped"
    assert lines[1].startswith("cell 1/2  head-only · ")
    stamped = re.compile(r"  \d\d:\d\d:\d\d  (?=[12]/2 head-only  )")
    assert all(stamped.match(line) for line in lines[1:] if not line.startswith("cell ")), "a time, a cell, its method"
    lines = [stamped.sub("", line) for line in lines]
    assert [line.split("  training left")[0] for line in lines if "epoch" in line] == [
        f"1/2 head-only  epoch {epoch}/2  loss 0.2500  batch IoU 0.50" for epoch in (1, 2)
    ]
    assert [line for line in lines if "calibrating" in line] == ["1/2 head-only  calibrating, done"]
    assert "1/2 head-only  note: a [bold]note[/odd]" in lines
    assert lines[-1].startswith("1/2 head-only  failed: for [a] reason  in 0:0")
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_a_moving_line(job: Job) -> None:
    out = io.StringIO()
    display = display_for(Console(file=out, force_terminal=True, width=100))
    assert isinstance(display, LiveDisplay)
    display.begin([job], 0)
    display.start(job)
    display.progress.refresh()
    assert "starting" in out.getvalue()
    display.event(job, {"event": "phase", "name": "calibrating", "share": 0.25})
    display.progress.refresh()  # by itself it draws eight times a second
    assert "━━━━━━\x1b[0m\x1b[90m╺" in out.getvalue()  # a quarter of the bar
    assert "calibrating" in out.getvalue()
    display.event(job, step(2, 3))
    display.progress.refresh()
    assert "1/1 head-only" in out.getvalue()
    assert "epoch 2/2  loss 0.2500  batch IoU 0.50" in out.getvalue()
    assert "left" not in out.getvalue(), "one step has no pace"
    display.event(job, {"event": "phase", "name": "evaluating val"})
    display.progress.refresh()
    assert "evaluating val" in out.getvalue()
    display.event(job, {"event": "scored", "split": "val", "done": 900, "of": 1800, "miou": 0.5})
    display.progress.refresh()
    assert "evaluating val  900/1,800  mIoU 50.0" in out.getvalue()
    display.end(job, done(job))
    assert not display.progress.live.is_started
    assert "mIoU val 61.2 (swapped 5.0)" in out.getvalue()


def test_time_left_follows_the_pace(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    display = PlainDisplay(Console(file=io.StringIO()))
    display.begin([job], 0)
    display.start(job)
    assert display.cells[job.cell.id()].add_step(step(1, 1)) is None, "not known yet, rather than none"
    now[0] += 6.0
    # Three steps took six seconds, six steps are left.
    assert display.cells[job.cell.id()].add_step(step(1, 4)) == pytest.approx(2.0 * 6)
    now[0] += 2.0
    assert display.cells[job.cell.id()].add_step(step(2, 5)) == 0


def test_time_left_of_an_evaluation_follows_its_pace(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all splits: a quarter took five seconds."""
    now, out = [100.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    display = LiveDisplay(Console(file=out, force_terminal=True, width=100))
    display.begin([job], 0)
    display.start(job)
    display.event(job, {"event": "phase", "name": "evaluating val", "before": 0.0, "size": 0.5})
    assert display.cells[job.cell.id()].left is None
    now[0] += 5.0
    display.event(job, {"event": "scored", "split": "val", "done": 2, "of": 4, "miou": 0.5})
    display.progress.refresh()
    assert "left 0:15" in out.getvalue()
    now[0] += 5.0
    display.event(job, {"event": "phase", "name": "evaluating testA", "before": 0.5, "size": 0.5})
    display.event(job, {"event": "scored", "split": "testA", "done": 0, "of": 4, "miou": 0.5})
    display.progress.refresh()
    assert "left 0:10" in out.getvalue()
    display.stop()


def test_time_left_of_a_training_has_the_evaluation_of_the_cells_before(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, out = [100.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    cells = [job.model_copy(update={"cell": job.cell.model_copy(update={"seed": seed})}) for seed in range(2)]
    display = PlainDisplay(Console(file=out, width=200))
    display.begin(cells, 0)
    for cell in cells:
        display.start(cell)
        display.event(cell, step(1, 1))
        for epoch in (1, 2):
            now[0] += 4.0
            display.event(cell, step(epoch, 5))
        now[0] += 30.0
        display.end(cell, done(cell))
    lines = [line.rpartition("IoU 0.50")[2].strip() for line in out.getvalue().splitlines() if "epoch" in line]
    assert lines == ["training left 0:05", "", "left 0:35", "left 0:30"]


def test_time_left_of_all_cells(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the forecast, as far as it was right for the cells that are over; else as long as those took."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    cells = [job.model_copy(update={"cell": job.cell.model_copy(update={"seed": seed})}) for seed in range(3)]
    forecast = {c.cell.id(): seconds for c, seconds in zip(cells, (10.0, 40.0, 60.0), strict=True)}
    for foretold, last in ((forecast, 2 * 60.0), ({}, 20.0)):  # the first takes twice its forecast
        display = PlainDisplay(Console(file=io.StringIO()), foretold)
        display.begin(cells, 0)
        display.start(cells[0])
        assert display.remaining(7.0) == ("left 0:07, all 1:47" if foretold else "left 0:07")
        now[0] += 20.0
        display.end(cells[0], done(cells[0]))
        display.start(cells[1])
        assert sum(display.expected(cell) or 0.0 for cell in cells[2:]) == pytest.approx(last)
        now[0] += 80.0
        display.end(cells[1], done(cells[1]))
        display.start(cells[2])
        assert display.remaining(5.0) == "left 0:05"


@pytest.mark.parametrize("slots", [2, None], ids=["two slots", "a cluster, two cells run"])
def test_cells_that_run_at_the_same_time_are_told_apart(
    slots: int | None, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, out = [100.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    cells = [job.model_copy(update={"cell": job.cell.model_copy(update={"seed": seed})}) for seed in range(3)]
    display = PlainDisplay(Console(file=out, width=80), {c.cell.id(): 60.0 for c in cells}, slots)
    display.begin(cells, 0)
    for cell in cells[:2]:
        display.start(cell)
        display.event(cell, step(1, 1))
    now[0] += 4.0
    for cell in cells[:2]:
        display.event(cell, step(1, 5))
    lines = out.getvalue().splitlines()
    assert lines[0] == "3 cells to run" + ", 2 at a time" * (slots is not None)
    assert lines[3][12:].startswith("1/3 head-only  epoch 1/2")
    assert lines[4][12:].startswith("2/3 head-only  epoch 1/2")
    # Each has five steps of one second left; the third cell follows on one of the two slots.
    assert lines[4].endswith(f"left 0:05, all {clock(5 + 60)}")


def test_the_last_cells_end() -> None:
    """Three slots, by hand: 4, 1, and none; 5 on the third until 5, 2 on the second until 3, 6 there until 9."""
    assert makespan([4.0, 1.0], [5.0, 2.0, 6.0], 3) == 9.0
    assert makespan([4.0], [], 1) == 4.0
