"""One cell from start to end: build, profile, train, evaluate on every split. Runs in a worker process."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import save

from barbench.benchmarks.devices import make_accelerator
from barbench.benchmarks.environment import environment
from barbench.benchmarks.job import Job
from barbench.benchmarks.stopping import Stop
from barbench.datasets.kinds import KINDS
from barbench.datasets.mixtures import TASKS, Mixture
from barbench.datasets.protocols import Evaluated
from barbench.datasets.refer import ReferSplit
from barbench.datasets.samples import EvalSamples, JointSamples, TrainSamples
from barbench.datasets.squares import Squares, room
from barbench.datasets.tasks import TaskData, read_task
from barbench.datasets.tokens import Tokens
from barbench.datasets.transforms import Letterbox
from barbench.engine import profile
from barbench.engine.checkpoint import Checkpoint, tuned_state
from barbench.engine.evaluate import Evaluation, evaluate
from barbench.engine.metrics import Metrics
from barbench.engine.recipe import Recipe
from barbench.engine.seeding import seed_everything
from barbench.engine.train import StepLog, Training, fit
from barbench.files import write_atomically
from barbench.methods.resolve import build_segmenter, resolve
from barbench.models.segmenter import Segmenter
from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone
from barbench.results.record import EpochLog, Profile, Record, Scores, SplitResult, TrainingSet
from barbench.results.store import Arrays

Emit = Callable[[dict[str, Any]], None]
PROFILE_BATCH = 8
NOTABLE = 10**9  # bytes of disk that a user should hear of


def run_cell(job: Job, emit: Emit, stop: Stop) -> tuple[Record, Arrays] | None:
    """The record and its per-expression arrays; None in processes other than the first. `emit` takes progress events.
    Raises Interrupted or KeyboardInterrupt where `stop` asks for it."""
    cell, clock, timings = job.cell, time.monotonic(), dict[str, float]()

    def lap(name: str) -> None:
        timings[name] = time.monotonic() - clock - sum(timings.values())

    emit({"event": "phase", "name": "loading"})
    torch.set_num_threads(job.threads)
    recipe = Recipe.model_validate(cell.recipe)
    accelerator = make_accelerator(job.device, cell.precision)
    task = TASKS.get(cell.protocol)
    data = read_task(job.data_root, task)
    if data.removed_images:
        left_out = f"{data.removed_images:,} images with {data.removed_references:,} references"
        emit({"event": "note", "text": f"{left_out} train nothing: they are in evaluation splits"})
    backbone = load_backbone(job.backbone, str(job.weights_path or cell.weights), cell.image_size, seed=cell.seed)
    spec = resolve(job.reference)[0]
    segmenter = build_segmenter(spec, backbone, cell.seed, cell.options).to(accelerator.device)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        segmenter = torch.nn.SyncBatchNorm.convert_sync_batchnorm(segmenter)  # type: ignore[no-untyped-call]
    letterbox, tokens = Letterbox(backbone.image_size), Tokens(backbone.tokenizer, task.words)
    cache = _cache(job.cache, letterbox, [*data.train, *data.evals.values()], emit)
    lap("loading")

    emit({"event": "phase", "name": "profiling"})
    cost = _cost(segmenter, backbone, task.words, accelerator.device)
    lap("profiling")

    profile.reset_peak(accelerator.device)
    seed_everything(cell.seed, accelerator.process_index)
    checkpoint = Checkpoint(job.checkpoint, cell.id())
    samples = JointSamples([TrainSamples(split, letterbox, tokens, cell.seed, cache) for split in data.train])
    with stop.at_steps() as asked:
        training = fit(
            segmenter,
            samples,
            recipe,
            accelerator,
            seed=cell.seed,
            checkpoint=checkpoint,
            checkpoint_seconds=job.checkpoint_seconds,
            workers=job.workers,
            on_step=lambda log: emit(_step_event(log)),
            stop=asked,
        )
    if checkpoint.set_aside:
        emit({"event": "note", "text": f"unusable checkpoint set aside as {checkpoint.set_aside.name}; started over"})
    peak = profile.peak(accelerator.device)
    lap("training")

    evaluations: dict[str, Evaluation] = {}
    for key, split in data.evals.items():
        emit({"event": "phase", "name": f"evaluating {key}"})
        evaluations[key] = evaluate(
            segmenter,
            EvalSamples(split, letterbox, tokens, cache),
            accelerator,
            batch=recipe.eval_batch,
            threshold=recipe.threshold,
            workers=job.workers,
        )
    lap("evaluating")
    if not accelerator.is_main_process:
        return None
    write_atomically(job.tuned, save({name: value.contiguous() for name, value in tuned_state(segmenter).items()}))
    for member in data.members:
        for line in member.problems.lines():
            emit({"event": "note", "text": line if len(data.members) == 1 else f"{member.protocol.title}: {line}"})
    timings["total"] = time.monotonic() - clock
    record = Record(
        id=cell.id(),
        cell=cell,
        title=job.title,
        composition=job.composition,
        notes=job.notes,
        ledger=segmenter.ledger(),
        status="done",
        splits={e.key: _split_result(data, e, evaluations[e.key]) for e in task.evaluated},
        training=_training_set(data, samples),
        profile=_profile(cost, peak, training, evaluations, recipe, accelerator),
        environment=environment(accelerator.device, job.threads),
        timings=timings,
        history=tuple(EpochLog(**h) for h in training.history),
        data_problems=_problems(data),
        kinds=KINDS,
        tuning_budget="the recipe's hyper-parameters for every method; no search for this cell",
    )
    return record, {
        f"{split}/{name}": column for split, e in evaluations.items() for name, column in e.expressions.items()
    }


def _cache(folder: Path | None, letterbox: Letterbox, splits: Sequence[ReferSplit], emit: Emit) -> Path | None:
    """The folder for letterboxed images where they fit; says what they take where that is much, or too much."""
    if folder is None:
        return None
    space = room(Squares(letterbox, folder), splits)
    sizes = f"{space.needed / 1e9:.1f} GB, and {space.free / 1e9:.1f} GB are free in {folder}"
    if not space.fits:
        emit({"event": "note", "text": f"images are decoded again each time: to keep them takes {sizes}"})
        return None
    if space.needed > NOTABLE:
        emit({"event": "note", "text": f"images are kept as they are decoded: they take at most {sizes}"})
    return folder


def _step_event(log: StepLog) -> dict[str, Any]:
    return {"event": "step", **log._asdict()}


def _cost(segmenter: Segmenter, backbone: Backbone, words: int, device: torch.device) -> tuple[int, int]:
    """FLOPs of an image's forward pass, and bytes that a batch of PROFILE_BATCH keeps for its backward pass."""
    with torch.random.fork_rng():
        image, ids, mask = profile.example_batch(segmenter, backbone.image_size, words, PROFILE_BATCH)
        return profile.flops_forward(segmenter, image, ids), profile.saved_bytes(segmenter, image, ids, mask)


def _profile(
    cost: tuple[int, int],
    peak: profile.Peak,
    training: Training,
    evaluations: dict[str, Evaluation],
    recipe: Recipe,
    accelerator: Accelerator,
) -> Profile:
    expressions = sum(e.metrics.n for e in evaluations.values())
    seconds = sum(e.metrics.n / e.images_per_second for e in evaluations.values())
    return Profile(
        flops_forward=cost[0],
        saved_bytes=cost[1],
        saved_bytes_batch=PROFILE_BATCH,
        peak_memory_bytes=peak.bytes,
        peak_memory_kind=peak.kind,
        train_images_per_s=training.images_per_second,
        infer_images_per_s=expressions / seconds,
        batch=recipe.batch,
        device=str(accelerator.device),
    )


def _split_result(data: TaskData, split: Evaluated, evaluation: Evaluation) -> SplitResult:
    references, shared = data.evals[split.key].references, data.shared[split.key]
    own = data.task is split.protocol
    return SplitResult(
        scores=scores(evaluation.metrics),
        control=scores(evaluation.control) if evaluation.control else None,
        column=split.protocol.columns[split.split],
        protocol=None if own else split.protocol.name,
        leaks=shared > 0 or (own and split.split in split.protocol.leaks),
        shared_images=shared,
        images=len({r.image_id for r in references}),
        references=len(references),
    )


def _training_set(data: TaskData, samples: JointSamples) -> TrainingSet:
    references = samples.references
    mixture = data.task if isinstance(data.task, Mixture) else None
    return TrainingSet(
        references=len(references),
        images=len({r.image_id for r in references}),
        mixing="none" if mixture is None else "clean" if mixture.excluded else "leaked",
        removed_references=data.removed_references,
        removed_images=data.removed_images,
    )


def _problems(data: TaskData) -> dict[str, int]:
    """How often each, over all members."""
    return dict(sum((Counter(member.problems.counts()) for member in data.members), Counter[str]()))


def scores(metrics: Metrics) -> Scores:
    """Metrics in the record's schema."""
    names = ("p50", "p60", "p70", "p80", "p90")
    return Scores(miou=metrics.miou, oiou=metrics.oiou, n=metrics.n, **dict(zip(names, metrics.precision, strict=True)))
