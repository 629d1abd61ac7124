"""The state of a training: what was launched, what was read of it, and how a bad step ends it."""

import math
import time
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from accelerate.utils import gather_object

from barbench.datasets.samples import JointSamples, TrainBatch, TrainSamples
from barbench.engine.checkpoint import Epoch, Progress
from barbench.engine.pending import PendingTensor, steps_in_flight
from barbench.engine.step import Stepper
from barbench.errors import BarbenchError
from barbench.spec.recipe import Recipe

# The loss scaler starts at 2^16 and halves with each overflow: after 32 it is no longer the scale that overflows.
OVERFLOWS = 32
CURVE_POINTS = 200
"""That a loss curve has at most."""


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


class Curve(NamedTuple):
    """The loss over a training: means over `every` steps, in order; the last one may be of fewer."""

    every: int
    losses: list[float]


class Training(NamedTuple):
    """The result of a training.

    Attributes:
        history: one entry per epoch; the last one of fewer steps where the training ended within an epoch.
        seconds: training time, summed over interrupted runs.
        images_per_second: over all processes, from the median step of this process's own run, without the wait for the
            loader; None where no step ran.
        wait_seconds: median seconds per step that this process waited for the loader; None where no step ran.
        skipped: steps that changed nothing, because a gradient overflowed in fp16.
        curve: the loss every so many steps; None where a checkpoint of before it was kept was continued from.
    """

    history: list[Epoch]
    seconds: float
    images_per_second: float | None
    wait_seconds: float | None = None
    skipped: int = 0
    curve: Curve | None = None


class _Launched(NamedTuple):
    """A step that the device may still be computing; `numbers` are loss, norm and IoU."""

    step: int
    lr: float
    micros: list[TrainBatch]
    numbers: PendingTensor


class TrainingState:
    """Launches steps and reads their numbers, up to one step later.

    Args:
        stepper: launches a step.
        samples: name the references of a step that fails.
        recipe: its learning rates and epochs.
        steps: of an epoch.
        done: how far an earlier run had come.
        on_step: called with the numbers of each step; None: not called.

    Attributes:
        step: steps launched of the whole training.
        saved: the step of the last checkpoint; 0: there is none.
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
        self._stepper = stepper
        self._samples = samples
        self._recipe = recipe
        self._steps = steps
        self._on_step = on_step
        # What an earlier run did.
        self.step = done.step
        self.saved = done.step
        self._loss_sum = done.loss_sum
        self._history = list(done.history)
        self._skipped = done.skipped
        self._every = max(1, math.ceil(recipe.epochs * steps / CURVE_POINTS))
        self._curve = list(done.curve or [])
        self._curve_sum = done.curve_sum
        self._has_curve = done.step == 0 or done.curve is not None
        self._begin = time.monotonic() - done.seconds
        # What this run does.
        self._overflows = 0
        self._launched: deque[_Launched] = deque()
        self._step_times: list[float] = []
        self._wait_times: list[float] = []

    def advance(self, micros: list[TrainBatch], waited: float, total: int) -> bool:
        """Launch one step, whose micro-batches were waited for so many seconds, and read the numbers of those before
        it, after `total` steps its own, too. True after the last step of an epoch."""
        # Launch: the device computes while the host goes back for the next batch.
        begin = time.monotonic()
        lr = self._recipe.rate(self.step, self._steps)
        self.step += 1
        numbers = PendingTensor(self._stepper.launch(micros, lr))
        self._launched.append(_Launched(self.step, lr, micros, numbers))

        # Read what is behind; at the end of an epoch everything, for its mean loss.
        epoch_done = self.step % self._steps == 0
        if epoch_done or self.step == total:
            self.read_pending()
        else:
            self.read_pending(keep=steps_in_flight(self._stepper.accelerator.device))
        self._step_times.append(time.monotonic() - begin)
        self._wait_times.append(waited)
        if epoch_done:
            self._history.append(self._epoch(self.step // self._steps, self._steps, lr))
            self._loss_sum = 0.0
        return epoch_done

    def _epoch(self, epoch: int, steps: int, lr: float) -> Epoch:
        """The entry of an epoch, counted from 1, of which `steps` are done."""
        earlier = sum(entry["seconds"] for entry in self._history)
        return {
            "epoch": epoch,
            "loss": self._loss_sum / steps,
            "lr": lr,
            "seconds": time.monotonic() - self._begin - earlier,
            "steps": steps,
        }

    def read_pending(self, keep: int = 0) -> None:
        """Read the numbers of all launched steps but the last `keep`."""
        while len(self._launched) > keep:
            launched = self._launched.popleft()
            loss, norm, iou = launched.numbers.read().tolist()
            self._check(launched, loss, norm)
            self._loss_sum += loss
            self._curve_sum += loss
            # A point of the loss curve is the mean of so many steps.
            if launched.step % self._every == 0:
                self._curve.append(self._curve_sum / self._every)
                self._curve_sum = 0.0
            if self._on_step is not None:
                self._on_step(self._log(launched, iou))

    def _log(self, launched: _Launched, iou: float) -> StepLog:
        epoch, before = divmod(launched.step - 1, self._steps)
        return StepLog(
            epoch=epoch + 1,
            epochs=self._recipe.epochs,
            step=before + 1,
            steps=self._steps,
            loss=self._loss_sum / (before + 1),
            iou=iou,
            lr=launched.lr,
            skipped=self._skipped,
        )

    def _check(self, launched: _Launched, loss: float, norm: float) -> None:
        """Count a step that fp16 skipped; raise BarbenchError for a step that may change no weight."""
        if math.isfinite(loss) and math.isfinite(norm):
            self._overflows = 0
            return
        if not math.isfinite(loss):
            fault = f"the loss is {loss}"
        elif self._stepper.accelerator.scaler is None:
            fault = f"the norm of the gradient is {norm}"
        else:
            # The loss scaler skips the step and tries a smaller scale, unless it has done so too often.
            self._skipped += 1
            self._overflows += 1
            if self._overflows < min(OVERFLOWS, self._recipe.epochs * self._steps):
                return
            fault = f"{self._overflows} steps in a row overflowed in fp16 (try --precision bf16); the last one is"
        # The training ends here: where it was, and with which references.
        kept = f"the checkpoint of step {self.saved} is kept" if self.saved else "before the first checkpoint"
        epoch = (launched.step - 1) // self._steps + 1
        references = gather_object(self._references(launched.micros))
        where = ", ".join(str(reference) for reference in references)
        raise BarbenchError(f"{fault} at step {launched.step} (epoch {epoch}), {kept}; references {where}")

    def _references(self, micros: list[TrainBatch]) -> list[int]:
        found = []
        for micro in micros:
            found += [self._samples.references[i].ref_id for i in micro.indices]
        return found

    def progress(self) -> Progress:
        """For a checkpoint, once everything that was launched has been read."""
        self.read_pending()
        seconds = time.monotonic() - self._begin
        curve = self._curve if self._has_curve else None
        return Progress(self.step, self._loss_sum, seconds, self._history, self._skipped, curve, self._curve_sum)

    def result(self) -> Training:
        """After the last step."""
        images_per_second = None
        wait_seconds = None
        if self._step_times:
            images_per_second = self._recipe.batch / median(self._step_times)
            wait_seconds = median(self._wait_times)

        # A training that was limited may end within an epoch, which a later call with a checkpoint can complete.
        history = list(self._history)
        epochs, rest = divmod(self.step, self._steps)
        if rest:
            history.append(self._epoch(epochs + 1, rest, self._recipe.rate(self.step - 1, self._steps)))
        seconds = time.monotonic() - self._begin
        return Training(history, seconds, images_per_second, wait_seconds, self._skipped, self._loss_curve())

    def _loss_curve(self) -> Curve | None:
        """The whole curve; None where its beginning is not known."""
        if not self._has_curve:
            return None
        losses = list(self._curve)
        rest = self.step % self._every
        if rest:
            losses.append(self._curve_sum / rest)
        return Curve(self._every, losses)
