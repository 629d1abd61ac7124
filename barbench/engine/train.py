"""The training loop, one for all methods: any device and precision through accelerate, exact resume at any step."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from statistics import median
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import DataLoader

from barbench.datasets.letterbox import normalised
from barbench.datasets.samples import JointSamples, TrainBatch, TrainSamples
from barbench.engine.checkpoint import Checkpoint, Epoch, Progress
from barbench.engine.recipe import Recipe
from barbench.engine.seeding import epoch_order
from barbench.errors import BarbenchError, Interrupted, UsageError
from barbench.models.segmenter import Segmenter, training_loss


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
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    iou: float
    lr: float


class Training(NamedTuple):
    """The result of a training.

    Attributes:
        history: one entry per epoch.
        seconds: training time, summed over interrupted runs.
        images_per_second: over all processes, from the median step of this process's own run; None where no step ran.
    """

    history: list[Epoch]
    seconds: float
    images_per_second: float | None


class Plan(NamedTuple):
    """How an epoch is cut.

    Attributes:
        steps: optimizer steps.
        micro: samples per micro-batch and process.
        accumulate: micro-batches per step and process.
    """

    steps: int
    micro: int
    accumulate: int


def plan(recipe: Recipe, count: int, processes: int) -> Plan:
    """Cut an epoch into steps and micro-batches.

    Args:
        recipe: its `batch` and `accumulate`.
        count: number of samples.
        processes: that train together.

    Returns:
        The plan; samples that do not fill a batch are dropped.

    Raises:
        UsageError: if the batch does not divide, or is larger than the number of samples.
    """
    parts = recipe.accumulate * processes
    if recipe.batch % parts:
        raise UsageError(f"batch {recipe.batch} is not a multiple of accumulate x processes = {parts}")
    if count < recipe.batch:
        raise UsageError(f"the training split has {count} usable references, fewer than a batch of {recipe.batch}")
    return Plan(count // recipe.batch, recipe.batch // parts, recipe.accumulate)


def batches(
    recipe: Recipe, samples: TrainSamples | JointSamples, seed: int, epoch: int, first: int, rank: int, processes: int
) -> list[list[int]]:
    """The micro-batches of one process in one epoch.

    Args:
        recipe: its `batch` and `accumulate`.
        samples: only their number is read.
        seed: of the run.
        epoch: counted from 0.
        first: the step to begin with, counted from 0.
        rank: of the process.
        processes: that train together.

    Returns:
        Indices of samples per micro-batch, `accumulate` of them per step.
    """
    steps, micro, accumulate = plan(recipe, len(samples), processes)
    order = epoch_order(seed, epoch, len(samples))
    cut = [order[i * micro : (i + 1) * micro] for i in range(steps * accumulate * processes)]
    return cut[rank::processes][first * accumulate :]


def make_optimizer(recipe: Recipe, segmenter: Segmenter) -> torch.optim.Optimizer:
    """Adam or AdamW over the tuned parameters.

    Each parameter group says its `factor` on the learning rate: 1 for the head, `adapter_lr` for the rest. AdamW decays
    matrices only, not norms, biases and flows.

    Args:
        recipe: its optimizer, learning rate and weight decay.
        segmenter: on its device.

    Returns:
        The optimizer, fused where torch has one kernel for a whole step.
    """
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    head = segmenter.head_parameters()
    for name, parameter in segmenter.tuned_parameters().items():
        factor = 1.0 if name in head else recipe.adapter_lr
        decays = recipe.optimizer == "adam" or parameter.ndim > 1
        groups.setdefault((factor, recipe.weight_decay if decays else 0.0), []).append(parameter)
    settings = [{"params": p, "factor": factor, "weight_decay": decay} for (factor, decay), p in groups.items()]
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    device = next(segmenter.parameters()).device
    return kind(settings, lr=recipe.lr, fused=device.type in ("cpu", "cuda"))


def fit(
    segmenter: Segmenter,
    samples: TrainSamples | JointSamples,
    recipe: Recipe,
    accelerator: Accelerator,
    *,
    seed: int,
    max_steps: int | None = None,
    checkpoint: Checkpoint | None = None,
    checkpoint_seconds: float = 30.0,
    workers: int = 0,
    on_step: Callable[[StepLog], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Training:
    """Train a segmenter in place, from the checkpoint on if there is one.

    A resumed training ends as an uninterrupted one would: bit for bit on a CPU in fp32. A checkpoint is written after
    every epoch, and within one every `checkpoint_seconds`.

    Args:
        segmenter: on any device.
        samples: the training split.
        recipe: how to train.
        accelerator: device, precision and processes.
        seed: of the order of samples.
        max_steps: stop after so many steps of the whole training, with the learning rates of the full recipe; None:
            train the full recipe.
        checkpoint: where the state is kept; None: nowhere.
        checkpoint_seconds: seconds between two checkpoints within an epoch.
        workers: processes that load images.
        on_step: called after every step.
        stop: asked after every step; training stops if it is True on any process.

    Returns:
        History and speed.

    Raises:
        BarbenchError: if the loss or a gradient is not finite, before it has changed any weight. The last checkpoint
            stays.
        Interrupted: after the step in which `stop` became True; the checkpoint, if any, has been written.
        UsageError: if the recipe's batch does not fit samples and processes.
    """
    steps, _, accumulate = plan(recipe, len(samples), accelerator.num_processes)
    if recipe.head == "shipped":
        segmenter.start_from_shipped_head()
    optimizer = make_optimizer(recipe, segmenter)
    model, optimizer = accelerator.prepare(segmenter, optimizer)
    # Weights, optimizer, random generators and progress come from the checkpoint, if there is one.
    done = checkpoint.load(accelerator, segmenter, optimizer) if checkpoint else None
    done = done or Progress(0, 0.0, 0.0, [])
    step, loss_sum, history = done.step, done.loss_sum, list(done.history)
    clock, saved, times = time.monotonic() - done.seconds, time.monotonic(), list[float]()
    saved_step = step
    order: list[list[int]] = []
    loader = _loader(samples, order, accelerator, workers)
    total = min(recipe.epochs * steps, max_steps or recipe.epochs * steps)
    while step < total:
        epoch, first = divmod(step, steps)
        samples.set_epoch(epoch)
        order[:] = batches(recipe, samples, seed, epoch, first, accelerator.process_index, accelerator.num_processes)
        for micros in _steps(loader, recipe.accumulate):
            begin = time.monotonic()
            lr = _set_rate(optimizer, recipe.rate(step, steps))
            loss, norm, iou = _backward(model, optimizer, accelerator, micros, accumulate, recipe.clip)
            # Before the optimizer's step: no weight has changed yet.
            if fault := _fault(loss, norm, accelerator):
                kept = f"the checkpoint of step {saved_step} is kept" if saved_step else "before the first checkpoint"
                where = ", ".join(map(str, gather_object(_references(samples, micros))))
                raise BarbenchError(f"{fault} at step {step + 1} (epoch {epoch + 1}), {kept}; references {where}")
            optimizer.step()
            step, loss_sum = step + 1, loss_sum + loss
            times.append(time.monotonic() - begin)
            in_epoch = step - epoch * steps
            if on_step is not None:
                on_step(StepLog(epoch + 1, recipe.epochs, in_epoch, steps, loss_sum / in_epoch, iou, lr))
            if in_epoch == steps:
                begun = sum(h["seconds"] for h in history)
                seconds = time.monotonic() - clock - begun
                history.append(
                    {"epoch": epoch + 1, "loss": loss_sum / steps, "lr": lr, "seconds": seconds, "steps": steps}
                )
                loss_sum = 0.0
            # A checkpoint is written by all processes together, so they must agree.
            due, stopping = _agreed(accelerator, time.monotonic() - saved > checkpoint_seconds, stop())
            if checkpoint and (in_epoch == steps or due or stopping):
                checkpoint.save(
                    accelerator, segmenter, optimizer, Progress(step, loss_sum, time.monotonic() - clock, history)
                )
                saved, saved_step = time.monotonic(), step
            if stopping:
                kept = "with" if checkpoint else "without"
                raise Interrupted(f"stopped after step {step} (epoch {epoch + 1}), {kept} a checkpoint")
            if step == total:
                break
    rate = recipe.batch / median(times) if times else None
    return Training(history, time.monotonic() - clock, rate)


def _loader(
    samples: TrainSamples | JointSamples, order: list[list[int]], accelerator: Accelerator, workers: int
) -> DataLoader[TrainBatch]:
    """Batches of `order`, which is filled before each epoch: the loader's processes live as long as the loader."""
    return DataLoader(
        samples,
        batch_size=None,
        sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=accelerator.device.type == "cuda",
        generator=torch.Generator(),
    )


def _steps(loader: DataLoader[TrainBatch], accumulate: int) -> Iterator[list[TrainBatch]]:
    """An epoch's batches, grouped by optimizer step."""
    step: list[TrainBatch] = []
    for micro in loader:
        step.append(micro)
        if len(step) == accumulate:
            yield step
            step = []


def _agreed(accelerator: Accelerator, *wishes: bool) -> list[bool]:
    """For each wish, whether any process has it: all must do the same, and their clocks differ."""
    if accelerator.num_processes == 1:
        return list(wishes)
    counts = accelerator.reduce(torch.tensor(wishes, dtype=torch.float32, device=accelerator.device))
    return [bool(count > 0) for count in counts]


def _fault(loss: float, norm: float, accelerator: Accelerator) -> str:
    """What is not finite, or an empty text. In fp16 an infinite gradient is the scaler's task: it skips the step."""
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    return f"the norm of the gradient is {norm}" if not math.isfinite(norm) and accelerator.scaler is None else ""


def _references(samples: TrainSamples | JointSamples, micros: list[TrainBatch]) -> list[int]:
    return [samples.references[i].ref_id for micro in micros for i in micro.indices]


def _set_rate(optimizer: torch.optim.Optimizer, lr: float) -> float:
    """Set the learning rate of every parameter group, by the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]
    return lr


def _backward(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    micros: list[TrainBatch],
    accumulate: int,
    clip: float | None,
) -> tuple[float, float, float]:
    """The gradients of one step's micro-batches, clipped.

    Returns the mean loss over all processes, the gradient's norm before clipping, and the last micro-batch's IoU.
    """
    model.train()
    optimizer.zero_grad()
    total = torch.zeros((), device=accelerator.device)
    for number, micro in enumerate(micros, 1):
        image, ids, mask = (t.to(accelerator.device, non_blocking=True) for t in (micro.images, micro.ids, micro.masks))
        # Gradients are averaged over processes once, after the last micro-batch.
        last = number == len(micros)
        with nullcontext() if last else accelerator.no_sync(model), accelerator.autocast():
            output = model(normalised(image), ids)
            loss = training_loss(output, mask)
            accelerator.backward(loss / accumulate)
        total += loss.detach() / accumulate
    tuned = [p for group in optimizer.param_groups for p in group["params"]]
    if clip is not None:
        norm = accelerator.clip_grad_norm_(tuned, clip)
    else:
        norm = torch.nn.utils.get_total_norm([p.grad for p in tuned if p.grad is not None])
    both = accelerator.reduce(torch.stack([total, norm.to(total)]), "mean")
    return (*both.tolist(), _iou(output.logits.detach(), mask))


def _iou(logits: Tensor, mask: Tensor) -> float:
    """Mean IoU of logits (B, 1, h, w), at probability one half, with masks (B, S, S) at the logits' resolution."""
    target = torch.nn.functional.interpolate(mask[:, None], logits.shape[2:]) > 0.5
    guess = logits > 0
    meet, join = (guess & target).sum((1, 2, 3)), (guess | target).sum((1, 2, 3))
    return float((meet / join.clamp(min=1)).mean())
