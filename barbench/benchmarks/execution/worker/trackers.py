"""Losses and scores of a cell in TensorBoard, Weights & Biases or Trackio, through accelerate: one run per cell.

A tracker is for watching. The records stay the truth, and a tracker that fails ends no cell.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from barbench.benchmarks.job import Job
from barbench.metrics import METRICS
from barbench.results.record import Record
from barbench.values import flatten

PROJECT: Final = "barbench"


class Tracked:
    """Passes the progress of one cell on to its tracker.

    Nothing leaves the host unless the user's own settings say so, such as WANDB_MODE=online or TRACKIO_SPACE_ID.

    Args:
        job: the cell; without a tracker nothing happens here.
        note: called with the reason where a tracker is given up.
    """

    def __init__(self, job: Job, note: Callable[[str], None]) -> None:
        self._job = job
        self._note = note
        self._tracker: GeneralTracker | None = None
        self._step = 0
        self._given_up = job.place.tracker is None

    def add(self, event: Mapping[str, Any]) -> None:
        """Log a training step; its loss is the mean over the epoch so far."""
        if event["event"] != "step":
            return
        steps_before = (event["epoch"] - 1) * event["steps"]
        self._step = steps_before + event["step"]
        self._log({f"train/{name}": event[name] for name in ("loss", "iou", "lr")})

    def end(self, record: Record) -> None:
        """Log the scores."""
        values: dict[str, float] = {}
        for split, result in record.splits.items():
            for name, score in result.scores.values.items():
                if METRICS[name].role != "other":
                    values[f"{split}/{name}"] = score
        self._log(values)

    def close(self) -> None:
        """Let the tracker write what it still holds."""
        if self._tracker is not None:
            self._try(self._tracker.finish)

    def _log(self, values: dict[str, float]) -> None:
        if self._tracker is None:
            self._try(self._begin)
        if self._tracker is not None:
            tracker = self._tracker
            self._try(lambda: tracker.log(values, step=self._step))

    def _begin(self) -> None:
        """At the first step only: by then accelerate knows the device, which a tracker would make it choose."""
        assert self._job.place.tracker is not None
        name = self._job.place.tracker
        # A cell that resumes continues its run: by its id, or by its name where there are none.
        stem = self._job.cell.stem()
        run = {"name": stem, "resume": "allow"}
        if name == "tensorboard":
            tracker = LOGGER_TYPE_TO_CLASS[name](stem, logging_dir=self._job.results / name)
        elif name == "wandb":
            run |= {"id": self._job.cell.id(), "mode": os.environ.get("WANDB_MODE", "offline")}
            tracker = LOGGER_TYPE_TO_CLASS[name](PROJECT, dir=self._job.results, **run)
        else:
            tracker = LOGGER_TYPE_TO_CLASS[name](PROJECT, **run)
        tracker.start()

        # Trackers take flat, plain values.
        settings = {}
        for key, value in flatten(self._job.cell.model_dump(mode="json", exclude_none=True)).items():
            if isinstance(value, str | int | float):
                settings[key] = value
        tracker.store_init_configuration(settings)
        self._tracker = tracker

    def _try(self, act: Callable[[], object]) -> None:
        if self._given_up:
            return
        try:
            act()
        except Exception as error:
            self._given_up = True
            self._tracker = None
            self._note(
                f"{self._job.place.tracker} is given up ({type(error).__name__}: {error}); the record has everything"
            )
