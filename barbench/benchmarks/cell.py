"""Runs one cell from start to end: build, profile, train, evaluate on every split. Runs in a worker process."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from pydantic import JsonValue
from safetensors.torch import save

from barbench.benchmarks.cell_model import build
from barbench.benchmarks.execution.host.environment import device_name, environment
from barbench.benchmarks.execution.host.source import code_hash, own_code
from barbench.benchmarks.job import Job
from barbench.datasets.content import DatasetContent, check_held_out, read_dataset
from barbench.datasets.expression_kinds import KINDS
from barbench.datasets.letterbox_cache import LetterboxCache, check_images, disk_space
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.references import ReferSplit
from barbench.datasets.samples import EvalSamples, JointSamples, TrainSamples
from barbench.datasets.tokens import Tokens
from barbench.engine import profile
from barbench.engine.accelerator import make_accelerator
from barbench.engine.checkpoint import Checkpoint, tuned_state
from barbench.engine.evaluate import Evaluation, evaluate
from barbench.engine.kernel_check import settle_kernels
from barbench.engine.partial import PartialEvaluation
from barbench.engine.precision import precision_facts
from barbench.engine.seeding import seed_everything
from barbench.engine.train import fit
from barbench.engine.training_state import Training
from barbench.files import write_atomically
from barbench.models.segmenter import Segmenter
from barbench.results.expressions import join_masks, join_rivals, join_splits
from barbench.results.record import EpochLog, LossCurve, Profile, Record, SplitResult, Subset, TrainingSet
from barbench.results.store import Arrays
from barbench.spec.dataset import EvaluationSplit
from barbench.spec.recipe import Recipe
from barbench.spec.run import AUTO
from barbench.spec.text import plural

Emit = Callable[[dict[str, Any]], None]
AtSteps = Callable[[], AbstractContextManager[Callable[[], bool]]]
PROFILE_BATCH = 8
SCORED_SECONDS = 5.0
"""Between two events of an evaluation under way."""
NOTABLE = 10**9  # bytes of disk that a user should hear of


class Loaded(NamedTuple):
    """What the phases of a cell share: the segmenter on the accelerator's device, and the folder of letterboxed images,
    None without one."""

    recipe: Recipe
    accelerator: Accelerator
    data: DatasetContent
    segmenter: Segmenter
    samples: JointSamples
    letterbox: Letterbox
    tokens: Tokens
    cache: Path | None


def run_cell(job: Job, emit: Emit, at_steps: AtSteps) -> tuple[Record, Arrays] | None:
    """Run a cell.

    Args:
        at_steps: entered for the training (`StopSignal.at_steps`); gives a function that says between two steps whether
            to stop.

    Returns:
        The record and the arrays of its expressions; None in every process but the first.

    Raises:
        Interrupted: if it is asked to stop during training, after a checkpoint; else it is KeyboardInterrupt.
        DataError: if data or weights cannot be used.
    """
    begin = time.monotonic()
    timings: dict[str, float] = {}

    def lap(name: str) -> None:
        timings[name] = time.monotonic() - begin - sum(timings.values())

    # Data and model.
    emit({"event": "phase", "name": "loading"})
    loaded = _load(job, emit)
    for line in check_images(loaded.data.evals.values(), LetterboxCache(loaded.letterbox, loaded.cache)):
        emit({"event": "note", "text": line})
    for line in loaded.segmenter.method.notes(len(loaded.samples)):
        emit({"event": "note", "text": line})
    lap("loading")
    # FLOPs and memory, before anything is trained.
    emit({"event": "device", "name": device_name(str(loaded.accelerator.device))})
    emit({"event": "phase", "name": "profiling"})
    cost = _cost(loaded)
    lap("profiling")
    # Training, whose peak of memory is that of a cell in tables.
    device = loaded.accelerator.device
    profile.reset_peak(device)
    training = _train(job, loaded, emit, at_steps)
    peak = profile.peak(device)
    lap("training")
    # Images are scored at their own sizes, so that evaluation can need more than training did.
    profile.reset_peak(device)
    evaluations = _evaluate(job, loaded, emit)
    evaluation_peak = profile.peak(device)
    lap("evaluating")
    if not loaded.accelerator.is_main_process:
        return None
    # What is kept: weights, notes and the record, written by the first process alone.
    write_atomically(job.tuned, _packed_weights(loaded.segmenter))
    _note_problems(loaded.data, emit)
    timings["total"] = time.monotonic() - begin
    measured = _profile(loaded, cost, peak, evaluation_peak, training, evaluations)
    arrays = join_splits({split: evaluation.expressions for split, evaluation in evaluations.items()})
    arrays |= join_masks({s: evaluation.masks for s, evaluation in evaluations.items() if evaluation.masks})
    arrays |= join_rivals({s: evaluation.rivals for s, evaluation in evaluations.items() if evaluation.rivals})
    return _record(job, loaded, training, evaluations, measured, timings), arrays


def _load(job: Job, emit: Emit) -> Loaded:
    """Dataset and model, as training starts from them."""
    place = job.place
    torch.set_num_threads(place.threads)
    accelerator = make_accelerator(place.device, job.cell.precision, place.process_timeout * 60)
    slower = settle_kernels(place.kernels, accelerator.device, job.cell.precision)
    if slower is not None:
        emit({"event": "note", "text": slower})
    subset = job.cell.subset or Subset()
    # Images of evaluation splits are left out of a clean mixture.
    data = read_dataset(job.files.data, job.dataset, job.cell.held_out, subset.evaluate, subset.train)
    if job.cell.held_out:
        check_held_out(data, job.cell.held_out)
    if data.removed_images:
        left_out = f"{plural(data.removed_images, 'image')} with {plural(data.removed_references, 'reference')}"
        emit({"event": "note", "text": f"excluded from training, because they are in evaluation splits: {left_out}"})

    # The model; statistics of batches are those of all processes.
    built = build(job.cell, job.files.backbone, job.weights)
    segmenter = built.segmenter.to(accelerator.device)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        segmenter = torch.nn.SyncBatchNorm.convert_sync_batchnorm(segmenter)  # type: ignore[no-untyped-call]

    # What it trains on.
    folder = None if place.cache == AUTO else place.cache
    cache = _cache(folder, built.letterbox, [*data.train, *data.evals.values()], emit)
    grid = segmenter.mask_grid  # a sixteenth of the square travels to the device
    members = []
    for split in data.train:
        members.append(TrainSamples(split, built.letterbox, built.tokens, job.cell.seed, cache, grid))
    samples = JointSamples(members)
    return Loaded(job.recipe, accelerator, data, segmenter, samples, built.letterbox, built.tokens, cache)


def _cost(loaded: Loaded) -> tuple[int, int]:
    """FLOPs of one image's forward pass, and bytes that a batch of PROFILE_BATCH saves for its backward pass."""
    segmenter = loaded.segmenter
    size = loaded.letterbox.size
    length = loaded.data.dataset.context_length
    with torch.random.fork_rng():
        batch = profile.example_batch(segmenter, size, length, PROFILE_BATCH)
        with loaded.accelerator.autocast():  # what is kept depends on the precision
            flops = profile.flops_forward(segmenter, *batch[:2])
            saved = profile.saved_bytes(segmenter, *batch)
    return flops, saved


def _train(job: Job, loaded: Loaded, emit: Emit, at_steps: AtSteps) -> Training:
    """Train from the start, or from the checkpoint if there is a usable one."""
    cell = job.cell
    accelerator = loaded.accelerator
    seed_everything(cell.seed, accelerator.process_index)
    # A training that another version of a user's own method began is not continued.
    checkpoint = Checkpoint(job.checkpoint, f"{cell.id()} {own_code(cell.method)}".strip())
    with at_steps() as asked:
        training = fit(
            loaded.segmenter,
            loaded.samples,
            loaded.recipe,
            accelerator,
            seed=cell.seed,
            checkpoint=checkpoint,
            checkpoint_seconds=job.place.checkpoint_seconds,
            workers=job.place.workers or 0,
            on_step=lambda log: emit({"event": "step", **log._asdict()}),
            on_phase=lambda name, share: emit({"event": "phase", "name": name, "share": share}),
            stop=asked,
        )
    if checkpoint.set_aside:
        emit({"event": "note", "text": f"unusable checkpoint set aside as {checkpoint.set_aside.name}; started over"})
    return training


def _evaluate(job: Job, loaded: Loaded, emit: Emit) -> dict[str, Evaluation]:
    """Every split of the task, by key. What an attempt that was stopped has scored is taken over."""
    # What was scored before counts only for the same cell, code and weights.
    weights = hashlib.sha256(_packed_weights(loaded.segmenter)).hexdigest()
    identity = f"{job.cell.id()} {code_hash(job.cell.method)} {weights}"
    if job.place.keep_masks:  # scores without masks do not become part of it
        identity += " masks"
    rank = loaded.accelerator.process_index
    evaluations = {}
    # The display shows how much of all splits is done.
    sizes = {key: _sentence_count(split) for key, split in loaded.data.evals.items()}
    whole = sum(sizes.values())
    before = 0  # expressions of the splits that are done
    for number, (key, split) in enumerate(loaded.data.evals.items()):
        emit({"event": "phase", "name": f"evaluating {key}", "before": before / whole, "size": sizes[key] / whole})
        before += sizes[key]
        # One file per split and process, so that none waits for another.
        file = job.evaluation / f"{number}-{rank}.npz"
        partial = PartialEvaluation(file, f"{identity} {key}", job.place.checkpoint_seconds)
        evaluations[key] = evaluate(
            loaded.segmenter,
            EvalSamples(split, loaded.letterbox, loaded.tokens, loaded.cache),
            loaded.accelerator,
            batch=loaded.recipe.eval_batch,
            threshold=loaded.recipe.threshold,
            workers=job.place.workers or 0,
            on_batch=_ScoredEvents(key, partial, emit),
            partial=partial,
            keep_masks=job.place.keep_masks,
        )
    return evaluations


def _sentence_count(split: ReferSplit) -> int:
    return sum(len(reference.sentences) for reference in split.references)


class _ScoredEvents:
    """Announces how far the evaluation of a split has come, once in SCORED_SECONDS and at its end."""

    def __init__(self, key: str, partial: PartialEvaluation, emit: Emit) -> None:
        self._key = key
        self._partial = partial
        self._emit = emit
        self._told: int | None = None
        self._at = time.monotonic()

    def __call__(self, done: int, total: int, mean_iou: float) -> None:
        now = time.monotonic()
        if self._told is not None and done < total and now - self._at < SCORED_SECONDS:
            return
        before = self._partial.loaded if self._told is None else self._told
        self._told = done
        self._at = now
        new = done - before
        self._emit({"event": "scored", "split": self._key, "done": done, "of": total, "new": new, "miou": mean_iou})


def _packed_weights(segmenter: Segmenter) -> bytes:
    """What training changed, as safetensors."""
    return save({name: value.contiguous() for name, value in tuned_state(segmenter).items()})


def _note_problems(data: DatasetContent, emit: Emit) -> None:
    several = len(data.members) > 1
    for member in data.members:
        for line in member.problems.lines():
            text = f"{member.partition.title}: {line}" if several else line
            emit({"event": "note", "text": text})


def _record(
    job: Job,
    loaded: Loaded,
    training: Training,
    evaluations: dict[str, Evaluation],
    measured: Profile,
    timings: dict[str, float],
) -> Record:
    data = loaded.data
    return Record(
        id=job.cell.id(),
        cell=job.cell,
        title=job.title,
        composition=job.composition,
        notes=(*job.notes, *loaded.segmenter.method.notes(len(loaded.samples))),
        ledger=loaded.segmenter.account(),
        status="done",
        splits={e.key: _split_result(data, e, evaluations[e.key]) for e in data.evaluation_splits},
        training=_training_set(data, loaded.samples),
        profile=measured,
        environment=_environment(job, loaded),
        timings=timings,
        finished=int(time.time()),
        history=tuple(EpochLog(**h) for h in training.history),
        curve=None if training.curve is None else LossCurve(**training.curve._asdict()),
        data_problems=_problems(data),
        kinds=KINDS,
        categories=_categories(data, evaluations),
        tuning_budget=loaded.recipe.budget,
    )


def _environment(job: Job, loaded: Loaded) -> dict[str, JsonValue]:
    # A path would name the user's machine; the name of the folder is enough to find the data again.
    found = environment(loaded.accelerator.device, job.place.threads, job.cell.method)
    found["precision"] = precision_facts(loaded.accelerator)
    folder = job.files.data.resolve().name
    if folder != f"shapes-{job.cell.data.fingerprint}":  # the embedded benchmark's, in the cache
        found["data"] = folder
    if job.neighbours is not None:
        found["neighbours"] = job.neighbours
    return found


def _cache(folder: Path | None, letterbox: Letterbox, splits: Sequence[ReferSplit], emit: Emit) -> Path | None:
    """The folder for letterboxed images if they fit; a note says how much space they take if that is much, or too
    much."""
    if folder is None:
        return None
    # Half of the free space stays free.
    space = disk_space(LetterboxCache(letterbox, folder), splits)
    sizes = f"{space.needed / 1e9:.1f} GB, and {space.free / 1e9:.1f} GB are free in {folder}"
    if not space.fits:
        emit({"event": "note", "text": f"images are decoded again each time: to keep them takes {sizes}"})
        return None
    if space.needed > NOTABLE:
        emit({"event": "note", "text": f"images are kept as they are decoded: they take at most {sizes}"})
    return folder


def _profile(
    loaded: Loaded,
    cost: tuple[int, int],
    peak: profile.Peak,
    evaluation_peak: profile.Peak,
    training: Training,
    evaluations: dict[str, Evaluation],
) -> Profile:
    # Expressions per second, over all splits together.
    expressions = sum(e.metrics.n for e in evaluations.values())
    seconds = sum(e.metrics.n / e.images_per_second for e in evaluations.values())
    return Profile(
        flops_forward=cost[0],
        saved_bytes=cost[1],
        saved_bytes_batch=PROFILE_BATCH,
        peak_memory_bytes=peak.bytes,
        peak_memory_kind=peak.kind,
        reserved_memory_bytes=peak.reserved,
        evaluation_memory_bytes=evaluation_peak.bytes,
        train_images_per_s=training.images_per_second,
        train_wait_s=training.wait_seconds,
        skipped_steps=training.skipped,
        infer_images_per_s=expressions / seconds,
        batch=loaded.recipe.batch,
        device=str(loaded.accelerator.device),
    )


def _split_result(data: DatasetContent, split: EvaluationSplit, evaluation: Evaluation) -> SplitResult:
    references = data.evals[split.key].references
    shared = data.shared[split.key]
    own = not data.dataset.is_mixture
    chosen = data.chosen.get(split.key)
    return SplitResult(
        scores=evaluation.metrics,
        control=evaluation.control,
        column=split.partition.columns.get(split.split, "held out"),
        # Of a mixture each split says whose it is; the cell's own data set needs no name.
        dataset=None if own else split.partition.name,
        leaks=shared > 0 or (own and split.split in split.partition.leaks),
        shared_images=shared,
        images=len({r.image_id for r in references}),
        references=len(references),
        whole_images=None if chosen is None else chosen.images,
        chosen=None if chosen is None else chosen.digest,
    )


def _training_set(data: DatasetContent, samples: JointSamples) -> TrainingSet:
    references = samples.references
    chosen = data.chosen_train
    return TrainingSet(
        references=len(references),
        images=len({r.image_id for r in references}),
        mixing=data.dataset.mixing,
        removed_references=data.removed_references,
        removed_images=data.removed_images,
        whole_images=None if chosen is None else chosen.images,
        chosen=None if chosen is None else chosen.digest,
    )


def _categories(data: DatasetContent, evaluations: dict[str, Evaluation]) -> dict[int, str]:
    """The names of the categories that the stored arrays number."""
    used: set[int] = set()
    for evaluation in evaluations.values():
        used.update(evaluation.expressions["category_id"].tolist())
        if evaluation.rivals is not None:
            used.update(evaluation.rivals["category_id"].tolist())
    names: dict[int, str] = {}
    for member in data.members:
        names |= {number: name for number, name in member.categories.items() if number in used}
    return names


def _problems(data: DatasetContent) -> dict[str, int]:
    """How often each problem occurs, over all members."""
    counts = Counter[str]()
    for member in data.members:
        counts.update(member.problems.counts())
    return dict(counts)
