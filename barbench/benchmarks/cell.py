"""One cell from start to end: build, profile, train, evaluate on every split. Runs in a worker process."""

import time
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from barbench.benchmarks.environment import environment
from barbench.benchmarks.job import Job
from barbench.datasets.kinds import KINDS
from barbench.datasets.protocols import PROTOCOLS, Protocol
from barbench.datasets.refer import ReferData, read_refer
from barbench.datasets.samples import EvalSamples, TrainSamples
from barbench.datasets.tokens import Tokens
from barbench.datasets.transforms import Letterbox
from barbench.engine import profile
from barbench.engine.checkpoint import Checkpoint, tuned_state
from barbench.engine.evaluate import Evaluation, evaluate
from barbench.engine.metrics import Metrics
from barbench.engine.recipe import Recipe
from barbench.engine.seeding import seed_everything
from barbench.engine.train import StepLog, Training, fit
from barbench.methods.resolve import build_segmenter, resolve
from barbench.models.segmenter import Segmenter
from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone
from barbench.results.record import EpochLog, Profile, Record, Scores, SplitResult
from barbench.results.store import Arrays

Emit = Callable[[dict[str, Any]], None]
PROFILE_BATCH = 8


def run_cell(job: Job, emit: Emit) -> tuple[Record, Arrays] | None:
    """The record and its per-expression arrays; None in processes other than the first. `emit` takes progress
    events."""
    cell, clock, timings = job.cell, time.monotonic(), dict[str, float]()

    def lap(name: str) -> None:
        timings[name] = time.monotonic() - clock - sum(timings.values())

    emit({"event": "phase", "name": "loading"})
    torch.set_num_threads(job.threads)
    recipe = Recipe.model_validate(cell.recipe)
    accelerator = Accelerator(
        cpu=job.device == "cpu", mixed_precision="no" if cell.precision == "fp32" else cell.precision
    )
    protocol = PROTOCOLS.get(cell.protocol)
    data = read_refer(job.data_root, protocol)
    backbone = load_backbone(job.backbone, str(job.weights_path or cell.weights), cell.image_size, seed=cell.seed)
    spec = resolve(job.reference)[0]
    segmenter = build_segmenter(spec, backbone, cell.seed, cell.options).to(accelerator.device)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        segmenter = torch.nn.SyncBatchNorm.convert_sync_batchnorm(segmenter)  # type: ignore[no-untyped-call]
    letterbox, tokens = Letterbox(backbone.image_size), Tokens(backbone.tokenizer, protocol.words)
    lap("loading")

    emit({"event": "phase", "name": "profiling"})
    cost = _cost(segmenter, backbone, protocol, accelerator.device)
    lap("profiling")

    profile.reset_peak(accelerator.device)
    seed_everything(cell.seed, accelerator.process_index)
    checkpoint = Checkpoint(job.checkpoint, cell.id())
    training = fit(
        segmenter,
        TrainSamples(data.split("train"), letterbox, tokens, cell.seed),
        recipe,
        accelerator,
        seed=cell.seed,
        checkpoint=checkpoint,
        checkpoint_seconds=job.checkpoint_seconds,
        workers=job.workers,
        on_step=lambda log: emit(_step_event(log)),
    )
    if checkpoint.set_aside:
        emit({"event": "note", "text": f"unusable checkpoint set aside as {checkpoint.set_aside.name}; started over"})
    peak = profile.peak(accelerator.device)
    lap("training")

    evaluations: dict[str, Evaluation] = {}
    for name in protocol.evals:
        emit({"event": "phase", "name": f"evaluating {name}"})
        samples = EvalSamples(data.split(name), letterbox, tokens)
        evaluations[name] = evaluate(
            segmenter, samples, accelerator, batch=recipe.eval_batch, threshold=recipe.threshold, workers=job.workers
        )
    lap("evaluating")
    if not accelerator.is_main_process:
        return None
    job.scratch.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in tuned_state(segmenter).items()}, job.tuned)
    for line in data.problems.lines():
        emit({"event": "note", "text": line})
    timings["total"] = time.monotonic() - clock
    record = Record(
        id=cell.id(),
        cell=cell,
        title=job.title,
        composition=job.composition,
        ledger=segmenter.ledger(),
        status="done",
        splits={name: _split_result(data, protocol, name, e) for name, e in evaluations.items()},
        profile=_profile(cost, peak, training, evaluations, recipe, accelerator),
        environment=environment(accelerator.device, job.threads),
        timings=timings,
        history=tuple(EpochLog(**h) for h in training.history),
        data_problems=data.problems.counts(),
        kinds=KINDS,
        tuning_budget="the recipe's hyper-parameters for every method; no search for this cell",
    )
    return record, {
        f"{split}/{name}": column for split, e in evaluations.items() for name, column in e.expressions.items()
    }


def _step_event(log: StepLog) -> dict[str, Any]:
    return {"event": "step", **log._asdict()}


def _cost(segmenter: Segmenter, backbone: Backbone, protocol: Protocol, device: torch.device) -> tuple[int, int]:
    """FLOPs of an image's forward pass, and bytes that a batch of PROFILE_BATCH keeps for its backward pass."""
    with torch.random.fork_rng():
        image, ids, mask = profile.example_batch(segmenter, backbone.image_size, protocol.words, PROFILE_BATCH)
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


def _split_result(data: ReferData, protocol: Protocol, name: str, evaluation: Evaluation) -> SplitResult:
    references = data.split(name).references
    return SplitResult(
        scores=scores(evaluation.metrics),
        control=scores(evaluation.control) if evaluation.control else None,
        column=protocol.columns[name],
        leaks=name in protocol.leaks,
        images=len({r.image_id for r in references}),
        references=len(references),
    )


def scores(metrics: Metrics) -> Scores:
    """Metrics in the record's schema."""
    names = ("p50", "p60", "p70", "p80", "p90")
    return Scores(miou=metrics.miou, oiou=metrics.oiou, n=metrics.n, **dict(zip(names, metrics.precision, strict=True)))
