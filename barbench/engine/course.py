"""The course of a training: what was launched, what was read of it, and what goes wrong on the way."""

import math
import time
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from accelerate.utils import gather_object

from barbench.datasets.samples import JointSamples, TrainBatch, TrainSamples
from barbench.engine.checkpoint import Epoch, Progress
from barbench.engine.late import Late, lag
from barbench.engine.step import Stepper
from barbench.errors import BarbenchError
from barbench.spec.recipe import Recipe

# The loss scaler starts at 2^16 and halves with each overflow: after so many it is no longer the scale that overflows.
OVERFLOWS = 32


class StepLog(NamedTuple):
    """The state after a step.

    Attributes:
        epoch: counted from 1.
        epochs: of the whole training.
        step: counted from 1 within the epoch.
        steps: of an epoch.
        loss: mean over the epoch so far.
        iou: of the last micro-batch, at the logits' resolution: a training score, for display only.
        lr: the step's learning rate.
        skipped: steps so far that changed nothing, because a gradient overflowed in fp16.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    iou: float
    lr: float
    skipped: int = 0


class Training(NamedTuple):
    """The result of a training.

    Attributes:
        history: one entry per epoch.
        seconds: training time, summed over interrupted runs.
        images_per_second: over all processes, from the median step of this process's own run, without the wait for the
            loader; None where no step ran.
        wait_seconds: median seconds per step that this process waited for the loader; None where no step ran.
        skipped: steps that changed nothing, because a gradient overflowed in fp16.
    """

    history: list[Epoch]
    seconds: float
    images_per_second: float | None
    wait_seconds: float | None = None
    skipped: int = 0


class _Launched(NamedTuple):
    """A step that the device may still be computing; `numbers` are loss, norm and IoU."""

    step: int
    lr: float
    micros: list[TrainBatch]
    numbers: Late


class Course:
    """Steps are launched, their numbers read up to one step later.

    Args:
        stepper: launches a step.
        samples: name the references of a step that fails.
        recipe: its learning rates and epochs.
        steps: of an epoch.
        done: how far an earlier run had come.
        on_step: called with the numbers of each step.
    """

    def __init__(
        self,
        stepper: Stepper,
        samples: TrainSamples | JointSamples,
        recipe: Recipe,
        steps: int,
        done: Progress,
        on_step: Callable[[StepLog], None] | None,
    ) -> None:
        self.stepper, self.samples, self.recipe, self.steps, self.on_step = stepper, samples, recipe, steps, on_step
        self.step, self.loss_sum, self.history, self.skipped = (
            done.step,
            done.loss_sum,
            list(done.history),
            done.skipped,
        )
        self.saved, self.overflows = done.step, 0
        self.clock = time.monotonic() - done.seconds
        self.waiting: deque[_Launched] = deque()
        self.times: list[float] = []
        self.waits: list[float] = []

    def advance(self, micros: list[TrainBatch], waited: float, total: int) -> bool:
        """Launch one step and read what is due; whether it was an epoch's last."""
        begin = time.monotonic()
        lr = self.recipe.rate(self.step, self.steps)
        self.step += 1
        self.waiting.append(_Launched(self.step, lr, micros, Late(self.stepper.launch(micros, lr))))
        ends = self.step % self.steps == 0
        self.settle(0 if ends or self.step == total else lag(self.stepper.accelerator.device))
        self.times.append(time.monotonic() - begin)
        self.waits.append(waited)
        if ends:
            seconds = time.monotonic() - self.clock - sum(h["seconds"] for h in self.history)
            epoch, loss = self.step // self.steps, self.loss_sum / self.steps
            self.history.append({"epoch": epoch, "loss": loss, "lr": lr, "seconds": seconds, "steps": self.steps})
            self.loss_sum = 0.0
        return ends

    def settle(self, keep: int) -> None:
        """Read the numbers of all launched steps but the last `keep`."""
        while len(self.waiting) > keep:
            launched = self.waiting.popleft()
            loss, norm, iou = launched.numbers.read().tolist()
            self._judge(launched, loss, norm)
            self.loss_sum += loss
            if self.on_step is not None:
                epoch, before = divmod(launched.step - 1, self.steps)
                mean = self.loss_sum / (before + 1)
                self.on_step(
                    StepLog(epoch + 1, self.recipe.epochs, before + 1, self.steps, mean, iou, launched.lr, self.skipped)
                )

    def _judge(self, launched: _Launched, loss: float, norm: float) -> None:
        """Count a step that fp16 skipped; raise BarbenchError for one that no weight may see."""
        scaler = self.stepper.accelerator.scaler
        if math.isfinite(loss) and math.isfinite(norm):
            self.overflows = 0
            return
        if scaler is None or not math.isfinite(loss):
            fault = f"the norm of the gradient is {norm}" if math.isfinite(loss) else f"the loss is {loss}"
        else:
            self.skipped, self.overflows = self.skipped + 1, self.overflows + 1
            if self.overflows < min(OVERFLOWS, self.recipe.epochs * self.steps):
                return
            fault = f"{self.overflows} steps in a row overflowed in fp16 (try --precision bf16); the last one is"
        kept = f"the checkpoint of step {self.saved} is kept" if self.saved else "before the first checkpoint"
        where = ", ".join(map(str, gather_object(self._references(launched.micros))))
        at = f"at step {launched.step} (epoch {(launched.step - 1) // self.steps + 1})"
        raise BarbenchError(f"{fault} {at}, {kept}; references {where}")

    def _references(self, micros: list[TrainBatch]) -> list[int]:
        return [self.samples.references[i].ref_id for micro in micros for i in micro.indices]

    def progress(self) -> Progress:
        """For a checkpoint, once everything that was launched has been read."""
        self.settle(0)
        return Progress(self.step, self.loss_sum, time.monotonic() - self.clock, self.history, self.skipped)

    def result(self) -> Training:
        """After the last step."""
        batch, times = self.recipe.batch, self.times
        return Training(
            self.history,
            time.monotonic() - self.clock,
            batch / median(times) if times else None,
            median(self.waits) if times else None,
            self.skipped,
        )
