"""The training loop, one for all methods: any device and precision through accelerate, exact resume at any step."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from barbench.datasets.samples import JointSamples, TrainBatch, TrainSamples
from barbench.engine.calibrate import calibrate
from barbench.engine.checkpoint import Checkpoint, Progress
from barbench.engine.pending import PendingTensor, steps_in_flight
from barbench.engine.seeding import epoch_order
from barbench.engine.step import Stepper
from barbench.engine.training_state import StepLog, Training, TrainingState
from barbench.errors import Interrupted, UsageError
from barbench.models.segmenter import Segmenter
from barbench.spec.recipe import Recipe


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
        count: number of samples; those that do not fill a batch are dropped.
        processes: that train together.

    Returns:
        The plan.

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
    count = steps * accumulate * processes
    all_batches = [order[i * micro : (i + 1) * micro] for i in range(count)]
    own = all_batches[rank::processes]
    return own[first * accumulate :]


def make_optimizer(recipe: Recipe, segmenter: Segmenter, head_alone: bool = False) -> torch.optim.Optimizer:
    """Adam or AdamW over the tuned parameters.

    Each parameter group says its `factor` on the learning rate: 1 for the head, `adapter_lr` for the rest, which
    `head_alone` leaves out. AdamW decays matrices only, not norms, biases and flows. The optimizer is fused where torch
    has one kernel for a whole step.
    """
    head = segmenter.head_parameters()
    chosen = head if head_alone else segmenter.tuned_parameters()
    # Parameters with the same factor and the same weight decay share a group.
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in chosen.items():
        factor = 1.0 if name in head else recipe.adapter_lr
        decays = recipe.optimizer == "adam" or parameter.ndim > 1
        decay = recipe.weight_decay if decays else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    settings: list[dict[str, Any]] = []
    for (factor, decay), parameters in groups.items():
        settings.append({"params": parameters, "factor": factor, "weight_decay": decay})
    make = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    device = next(segmenter.parameters()).device
    return make(settings, lr=recipe.lr, fused=device.type in ("cpu", "cuda"))


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
    on_phase: Callable[[str, float], None] = lambda name, share: None,
    stop: Callable[[], bool] = lambda: False,
) -> Training:
    """Train a segmenter in place; if there is a checkpoint, continue from it.

    A resumed training ends as an uninterrupted one would: bit for bit on a CPU in fp32. A checkpoint is written after
    every epoch, and within one every `checkpoint_seconds`.

    Args:
        segmenter: on any device.
        samples: the training split.
        recipe: how to train.
        accelerator: device, precision and processes.
        seed: of the order of samples.
        max_steps: stop after this many steps of the whole training, with the learning rates of the full recipe; None:
            train the full recipe.
        checkpoint: where the state is kept; None: nowhere.
        checkpoint_seconds: seconds between two checkpoints within an epoch.
        workers: processes that load images.
        on_step: called after every step; on CUDA one step late, so that the device never waits.
        on_phase: called with what is done before the first step (a method's calibration) and the share done, 0 to 1.
        stop: asked after every step; training stops if it is True on any process, on several GPUs one step late.

    Returns:
        History and speed.

    Raises:
        BarbenchError: if the loss or a gradient is not finite, before it has changed any weight; in fp16, if many steps
            in a row overflow. The last checkpoint stays.
        Interrupted: after the step in which `stop` became True; the checkpoint, if any, has been written.
        UsageError: if the recipe's batch does not fit samples and processes.
    """
    steps = plan(recipe, len(samples), accelerator.num_processes).steps
    total = recipe.epochs * steps
    if max_steps:
        total = min(total, max_steps)
    if recipe.head == "shipped":
        segmenter.start_from_shipped_head()
    optimizer = make_optimizer(recipe, segmenter)
    model, optimizer = accelerator.prepare(segmenter, optimizer)

    # Weights, optimizer, random generators and progress come from the checkpoint, if there is one.
    done = checkpoint.load(accelerator, segmenter, optimizer) if checkpoint else None
    stepper = Stepper(model, optimizer, accelerator, recipe.clip, segmenter.normalization)
    state = TrainingState(stepper, samples, recipe, steps, done or Progress(0, 0.0, 0.0, []), on_step)
    order: list[list[int]] = []
    loader = _loader(samples, order, accelerator, workers)
    if done is None and segmenter.method.calibrates():
        _calibrate(segmenter, model, samples, recipe, accelerator, seed, workers, on_phase, stop)

    # Epoch by epoch, from the step on that an earlier run came to.
    save_time = time.monotonic()
    votes = _Votes(accelerator)
    while state.step < total:
        epoch, first = divmod(state.step, steps)
        samples.set_epoch(epoch)
        order[:] = batches(recipe, samples, seed, epoch, first, accelerator.process_index, accelerator.num_processes)
        for micros, waited in _timed(_steps(loader, recipe.accumulate)):
            epoch_done = state.advance(micros, waited, total)

            # A checkpoint is written by all processes together, so they must agree.
            save_is_due = time.monotonic() - save_time > checkpoint_seconds
            saving, stopping = votes.decide(save_is_due, stop())
            if checkpoint and (epoch_done or saving or stopping):
                checkpoint.save(accelerator, segmenter, optimizer, state.progress())
                save_time = time.monotonic()
                state.saved = state.step

            if stopping:
                state.read_pending()
                kept = "with" if checkpoint else "without"
                raise Interrupted(f"stopped after step {state.step} (epoch {epoch + 1}), {kept} a checkpoint")
            if state.step == total:
                break
    return state.result()


def _calibrate(
    segmenter: Segmenter,
    model: torch.nn.Module,
    samples: TrainSamples | JointSamples,
    recipe: Recipe,
    accelerator: Accelerator,
    seed: int,
    workers: int,
    on_phase: Callable[[str, float], None],
    stop: Callable[[], bool],
) -> None:
    """`calibrate` on the first epoch's samples; raises Interrupted where `stop` asks for it."""

    def on_progress(name: str, share: float) -> None:
        on_phase(name, share)
        stop_votes = _count_votes(accelerator, stop()).read()
        if float(stop_votes[0]) > 0:
            raise Interrupted("stopped before the first step, while the method was calibrated; it will start over")

    # The head's training, on the samples of the first epoch.
    samples.set_epoch(0)
    share = batches(recipe, samples, seed, 0, 0, accelerator.process_index, accelerator.num_processes)
    loader = _loader(samples, share, accelerator, workers)
    optimizer = accelerator.prepare(make_optimizer(recipe, segmenter, head_alone=True))
    stepper = Stepper(model, optimizer, accelerator, recipe.clip, segmenter.normalization)
    order = epoch_order(seed, 0, len(samples))
    steps = _steps(loader, recipe.accumulate)
    count = len(share) // recipe.accumulate
    calibrate(segmenter, stepper, steps, count, recipe.lr, samples, order, on_progress)


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


def _timed(steps: Iterator[list[TrainBatch]]) -> Iterator[tuple[list[TrainBatch], float]]:
    """Each step's batches with the seconds that they were waited for."""
    while True:
        begin = time.monotonic()
        step = next(steps, None)
        if step is None:
            return
        yield step, time.monotonic() - begin


class _Votes:
    """What all processes decide together after a step, although their clocks differ: to save, to stop.

    Several processes on GPUs read their votes one step late, as they read their losses.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._cast: deque[PendingTensor] = deque()
        self._in_flight = steps_in_flight(accelerator.device) if accelerator.num_processes > 1 else 0

    def decide(self, save: bool, stop: bool) -> tuple[bool, bool]:
        """Cast this process's votes; whether any process wants to save, and whether any wants to stop."""
        self._cast.append(_count_votes(self._accelerator, save, stop))
        if len(self._cast) <= self._in_flight:
            return False, False
        save_votes, stop_votes = self._cast.popleft().read().tolist()
        return save_votes > 0, stop_votes > 0


def _count_votes(accelerator: Accelerator, *votes: bool) -> PendingTensor:
    """For each question, how many processes vote for it."""
    if accelerator.num_processes == 1:
        return PendingTensor(torch.tensor(votes, dtype=torch.float32))
    # Filled on the device: a copy to it would wait.
    filled = [torch.full((), float(vote), device=accelerator.device) for vote in votes]
    return PendingTensor(accelerator.reduce(torch.stack(filled)))
