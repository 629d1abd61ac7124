"""Evaluates trained cells on other data, or on other words for the same objects: `barbench evaluate --cell`.

Nothing is trained, and the cell's record stays as it is; context length, EXIF rule and threshold are the cell's. Images
that the cell was trained on are counted, and scores are given with and without them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from barbench.benchmarks.cell_model import Trained
from barbench.benchmarks.execution.host.environment import environment
from barbench.datasets.content import images, only, read_dataset
from barbench.datasets.overlap import read_outlines, training
from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferSplit
from barbench.datasets.samples import EvalSamples
from barbench.datasets.sources import DataSource, chosen_data, data_root, find_source
from barbench.datasets.subset import chosen_images
from barbench.datasets.variants import VARIANTS, Varied, vary
from barbench.engine.evaluate import evaluate
from barbench.errors import BarbenchError, UnknownName
from barbench.metrics import METRICS, Scores, auroc, predicted_pixels, summarize_columns
from barbench.progress import OnProgress
from barbench.results.compare import rows_of
from barbench.results.evaluations import ORIGINAL, Evaluated, EvaluationRecord, Found, Leaks, load, save
from barbench.results.expressions import Columns
from barbench.results.record import Cell, DataIdentity
from barbench.results.store import Store
from barbench.spec.dataset import Dataset, EvaluationSplit, resolve_dataset
from barbench.spec.text import plural

RESAMPLES: Final = 2_000
Bar = Callable[[str], AbstractContextManager[OnProgress]]
"""From what is evaluated to what shows the expressions that are done while it is entered."""
Row = dict[str, str | float | int | None]


class Elsewhere(NamedTuple):
    """What a cell is evaluated on.

    Attributes:
        data: as for `find_source`.
        splits: keys of its evaluation splits; empty for all.
        text: ORIGINAL, or one of VARIANTS.
        limit: images of each split; None for all.
    """

    data: str | None
    dataset: str
    splits: tuple[str, ...] = ()
    text: str = ORIGINAL
    text_seed: int = 0
    limit: int | None = None
    workers: int = 0


class Outcome(NamedTuple):
    """An evaluation, and that of the original words if it is one of others."""

    found: Found
    original: Found | None = None


class Part(NamedTuple):
    """A split as it is evaluated, with the images that a limit left."""

    split: ReferSplit
    limit: int | None
    source: DataSource
    dataset: Dataset


def evaluate_elsewhere(store: Store, trained: Trained, asked: Elsewhere, bar: Bar) -> list[Outcome]:
    """Evaluate a cell on each split that is asked for, and save each evaluation; what is there is not run again.
    UnknownName for a data set, a split or a variant that does not exist."""
    if asked.text not in (ORIGINAL, *VARIANTS):
        raise UnknownName("text variant", asked.text, (ORIGINAL, *VARIANTS))
    cell = trained.record.cell
    dataset = resolve_dataset(asked.dataset, data_root(asked.data), trained.tokens.length, cell.exif)
    splits = {each.key: each for each in dataset.evaluation_splits}
    for key in asked.splits:
        if key not in splits:
            raise UnknownName("evaluation split", key, splits)
    source = find_source(asked.data, dataset)
    # Which images trained the cell, so that those among the evaluated ones can be counted.
    known = _training_images(cell, asked.data, dataset, source)
    read = {}
    outcomes = []
    for key in asked.splits or splits:
        each = splits[key]
        if each.partition.name not in read:
            read[each.partition.name] = read_refer(source.root, each.partition)
        whole = read[each.partition.name].split(each.split)
        part = Part(*_limited(whole, each, asked.limit), source, dataset)
        identity = _identity(store, trained, each, part)
        # The data's own words come first, also where others are asked for: they are what these are compared with.
        original = _run(store, trained, identity, part, known, None, None, asked.workers, bar)
        if asked.text == ORIGINAL:
            outcomes.append(Outcome(original))
            continue
        varied = vary(part.split, asked.text, asked.text_seed)
        other = identity.model_copy(update={"text": asked.text, "text_seed": asked.text_seed})
        found = _run(store, trained, other, part, known, varied, original, asked.workers, bar)
        outcomes.append(Outcome(found, original))
    return outcomes


def _limited(whole: ReferSplit, of: EvaluationSplit, limit: int | None) -> tuple[ReferSplit, int | None]:
    every = images([whole])
    if limit is None or limit >= len(every):
        return whole, None
    kept = chosen_images(every, of.partition.name, of.split, limit)
    return only(whole, kept), limit


def _identity(store: Store, trained: Trained, split: EvaluationSplit, part: Part) -> Evaluated:
    record = trained.record
    return Evaluated(
        cell=record.id,
        tuned=store.tuned_digest(record.cell),
        dataset=part.dataset.name,
        split=split.key,
        data=DataIdentity(kind=part.source.kind, fingerprint=part.source.fingerprint),
        limit=part.limit,
        threshold=trained.recipe.threshold,
        context_length=trained.tokens.length,
        exif=record.cell.exif,
    )


def _run(
    store: Store,
    trained: Trained,
    identity: Evaluated,
    part: Part,
    known: frozenset[int] | str,
    varied: Varied | None,
    original: Found | None,
    workers: int,
    bar: Bar,
) -> Found:
    """The stored evaluation, or a new one, which is stored."""
    record = trained.record
    stored = load(store, record.cell, identity)
    if stored is not None:
        return stored
    split = varied.split if varied else part.split
    samples = EvalSamples(split, trained.letterbox, trained.tokens)
    with bar(f"{identity.dataset} {identity.split}, {identity.text}") as progress:
        result = evaluate(
            trained.segmenter,
            samples,
            trained.accelerator,
            batch=trained.recipe.eval_batch,
            threshold=identity.threshold,
            workers=workers,
            on_batch=lambda done, total, _: progress(done, total),
        )
    # Where words were changed, scores of the changed expressions alone, before and after.
    columns: Columns = dict(result.expressions)
    texts = [expression.sentence.text for expression in samples.expressions]
    fields: dict[str, Any] = {}
    if varied is not None and original is not None:
        rows = np.isin(columns["sent_id"], list(varied.changed))
        fields = {
            "changed": len(varied.changed),
            "changed_scores": _scores(columns, rows),
            "original_scores": _scores(original.columns, rows),
        }
    made = EvaluationRecord(
        id=identity.id(),
        evaluated=identity,
        cell=record.cell,
        title=record.title,
        scores=result.metrics,
        control=result.control,
        leaks=_leaks(known, columns),
        images=len(np.unique(columns["image_id"])),
        references=len(split.references),
        cut=int(trained.tokens.encode(texts).truncated.sum()),
        environment=environment(trained.accelerator.device, 0, record.cell.method),
        **fields,
    )
    save(store, made, columns, result.rivals or {})
    return Found(made, columns)


def _scores(columns: Columns, rows: NDArray[np.bool_]) -> Scores | None:
    """Of some rows; None without any."""
    if not rows.any():
        return None
    return summarize_columns({name: column[rows] for name, column in columns.items()})


def _leaks(known: frozenset[int] | str, columns: Columns) -> Leaks:
    if isinstance(known, str):
        return Leaks(why_unknown=known)
    leaked = np.isin(columns["image_id"], list(known))
    shared = len(np.unique(columns["image_id"][leaked]))
    return Leaks(shared_images=shared, without_shared=_scores(columns, ~leaked) if shared else None)


def _training_images(cell: Cell, data: str | None, dataset: Dataset, source: DataSource) -> frozenset[int] | str:
    """Ids of the images that trained a cell, where they name the same images as those of `source`; else why it is not
    known whether images are shared."""
    root = data_root(data)
    try:
        of_cell = resolve_dataset(cell.dataset, root, cell.context_length, cell.exif)
    except BarbenchError:
        return f"{cell.dataset}, which trained the cell, is not in {source.root.name}"
    origin = _origin(cell, data, of_cell)
    if origin is None:
        return f"the data that trained the cell, {cell.dataset} {cell.data.fingerprint[:12]}, are not at hand"
    # Ids of public data sets are COCO's; those of your own, and of generated data, are valid in their own folder.
    same_folder = origin.root.resolve() == source.root.resolve()
    same_ids = same_folder and of_cell.name == dataset.name
    if not of_cell.is_own and not dataset.is_own:
        same_ids = same_folder or {origin.kind, source.kind} == {"refer"}
    if not same_ids:
        return f"the image ids of {of_cell.name} and {dataset.name} are not known to name the same images"
    # A part of the training set is chosen when the data are read; the whole is in the references file alone.
    limit_train = None if cell.subset is None else cell.subset.train
    if cell.held_out or limit_train is not None:
        content = read_dataset(origin.root, of_cell, cell.held_out, limit_train=limit_train)
        return images(content.train)
    entries = training(of_cell, read_outlines(origin.root, of_cell.partitions))
    return frozenset(entry.image_id for entry in entries)


def _origin(cell: Cell, data: str | None, dataset: Dataset) -> DataSource | None:
    """The data that a cell was trained on: in the folder at hand, or where data are without `--data`."""
    for place in dict.fromkeys((data, None)):
        if chosen_data(place) == "shapes" and cell.data.kind != "shapes":
            continue  # nothing is drawn for a cell of real data
        try:
            found = find_source(place, dataset)
        except BarbenchError:
            continue
        if found.fingerprint == cell.data.fingerprint:
            return found
    return None


def readable_scores(scores: Scores, control: Scores | None) -> Row:
    """The scores of a split by their labels, in percent, with the mean IoU of swapped expressions."""
    shown: Row = {}
    for name, score in scores.values.items():
        metric = METRICS[name]
        if not metric.detail:
            shown[metric.label] = metric.factor * score
    shown["swapped mIoU"] = None if control is None else 100 * control.mean
    shown["expressions"] = scores.n
    return shown


def row(outcome: Outcome) -> Row:
    """An evaluation as a row for people: scores in percent, images shared with training, differences of other words."""
    record = outcome.found.record
    shown: Row = {"trained -> evaluated": record.label, "text": record.evaluated.text}
    shown |= readable_scores(record.scores, record.control)
    leaks = record.leaks
    shown["shared images"] = "unknown" if leaks.shared_images is None else f"{leaks.shared_images} of {record.images}"
    shown["mIoU without them"] = None if leaks.without_shared is None else 100 * leaks.without_shared.mean
    if outcome.original is not None:
        shown |= _of_variant(outcome.found, outcome.original)
    return shown


def _of_variant(found: Found, original: Found) -> Row:
    """What other words changed: over all expressions, and over those whose words are others."""
    record = found.record
    every = difference(found.columns, original.columns, record.evaluated.split)
    shown: Row = {"difference": every, "changed": record.changed}
    if record.changed_scores is not None and record.original_scores is not None:
        shown["mIoU of changed"] = 100 * record.changed_scores.mean
        shown["in the data's words"] = 100 * record.original_scores.mean
    # Expressions that mean nothing here: how often that is noticed.
    if record.evaluated.text == "other-image":
        predicted = predicted_pixels(found.columns)
        shown["empty predictions"] = 100 * float((predicted == 0).mean())
        share = predicted / (found.columns["height"] * found.columns["width"])
        shown["predicted share of the image"] = 100 * float(share.mean())
        separated = auroc(original.columns["peak"], found.columns["peak"])
        shown["AUROC of the peak"] = None if separated is None else 100 * separated
    return shown


def difference(other: Columns, original: Columns, split: str) -> str:
    """Mean IoU in other words minus that in the data's, with its 95 % interval over images, in words."""
    if len(np.unique(original["image_id"])) < 2:
        return "-"
    # The first row is of the metric that ranks.
    ranking, *_ = rows_of([[other, original]], split, ("other words", "the data's"), RESAMPLES)
    return f"{ranking.difference:+.1f} [{ranking.low:+.1f}, {ranking.high:+.1f}]"


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """What a reader of the rows must know."""
    said = []
    for outcome in outcomes:
        record = outcome.found.record
        where = f"{record.evaluated.dataset} {record.evaluated.split}"
        # Images that the cell was trained on, then words that it did not see.
        if record.leaks.shared_images is None:
            said.append(f"{where}: whether images trained the cell is not known: {record.leaks.why_unknown}")
        elif record.leaks.shared_images:
            said.append(
                f"{where}: {plural(record.leaks.shared_images, 'image')} trained the cell; a mixture without them is "
                "--dataset mixed"
            )
        if record.cut:
            said.append(
                f"{where}: {plural(record.cut, 'expression')} longer than the cell's context of "
                f"{record.evaluated.context_length} tokens were cut"
            )
    return list(dict.fromkeys(said))
