"""The evaluations of `barbench evaluate --cell`: of models trained on one data set and evaluated on another a matrix,
which the page has with a heat map; of other words a table. `barbench report --table across`."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Final, NamedTuple

from barbench.metrics import METRICS, auroc, predicted_pixels
from barbench.paper.tables import Column
from barbench.reports.tables.grouping import Group, conditions_of, in_order
from barbench.reports.tables.notes import capitalized, describe_conditions
from barbench.reports.tables.table import Entry, EntryRow, Footnotes, Header, Section, Table
from barbench.results.evaluations import ORIGINAL, EvaluationRecord, load, load_all
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store
from barbench.spec.text import listed

NUMBER: Final = "across"
"""What `--table` calls these tables."""
ABSENT: Final = "other-image"
"""The text of an evaluation whose expressions mean nothing in their images."""


class MatrixScore(NamedTuple):
    """A place of a matrix.

    Attributes:
        mean: of the seeds, in percent.
        shared: images of the split that some of the cells were trained on; None: unknown.
        without: the mean without those images; None where there are none, or where nothing is left.
    """

    mean: float
    seeds: int
    shared: int | None
    without: float | None


class Matrix(NamedTuple):
    """The evaluations of one method under one set of conditions, which the caption says."""

    method: str
    caption: str
    metric: str
    rows: list[str]
    columns: list[Column]
    scores: dict[tuple[str, Column], MatrixScore]
    notes: tuple[str, ...]


def matrices(folder: Path) -> list[Matrix]:
    """The matrices of a results folder, from the evaluations in the data's own words; [] without any."""
    by_method: dict[tuple[object, ...], list[EvaluationRecord]] = defaultdict(list)
    for record in load_all(folder):
        evaluated = record.evaluated
        if evaluated.text == ORIGINAL:
            by_method[*_comparable(record), *_method(record)].append(record)
    found = []
    for key in sorted(by_method, key=repr):
        found.append(_matrix(by_method[key]))
    return found


def _comparable(record: EvaluationRecord) -> tuple[object, ...]:
    """What must not differ in a table: what a cell was trained on may, what it is scored with may not."""
    conditions = conditions_of(record.cell)._replace(metric=record.scores.mean_name)
    evaluated = record.evaluated
    return conditions, evaluated.threshold, evaluated.context_length, evaluated.limit


def _matrix(records: Sequence[EvaluationRecord]) -> Matrix:
    """Of evaluations that differ in training set, split and seed alone."""
    first = records[0]
    # The runs of each training set and split.
    places: dict[tuple[str, Column], list[EvaluationRecord]] = defaultdict(list)
    for record in records:
        places[record.cell.dataset, Column(record.evaluated.dataset, record.evaluated.split)].append(record)
    scores = {place: _score(runs) for place, runs in places.items()}
    # Both in the paper's order.
    trained_on = in_order({Column(row, "") for row, _ in scores})
    return Matrix(
        method=_title(first),
        caption=_caption(first),
        metric=METRICS[first.scores.mean_name].label,
        rows=[column.dataset for column in trained_on],
        columns=list(in_order({column for _, column in scores})),
        scores=scores,
        notes=_sizes([first]),
    )


def _caption(record: EvaluationRecord) -> str:
    """The conditions, as a sentence."""
    caption = describe_conditions(conditions_of(record.cell), ())
    if record.evaluated.limit is not None:
        caption = f"{caption} Evaluated on {record.evaluated.limit} images of each split."
    return capitalized(caption)


def _title(record: EvaluationRecord) -> str:
    """The method's title, with the options behind it that were chosen."""
    parts = [record.title]
    for name, value in sorted(record.cell.chosen.items()):
        parts.append(f"{name}={value}")
    return ", ".join(parts)


def _method(record: EvaluationRecord) -> tuple[str, str]:
    """Equal for evaluations of one row: the title, and all options, those that follow the backbone's width too."""
    return _title(record), repr(sorted(record.cell.options.items()))


def _sizes(records: Sequence[EvaluationRecord]) -> tuple[str, ...]:
    """A note on the sizes that follow the backbone's width; empty without any."""
    sizes = []
    for record in records:
        own = [f"{name}={record.cell.options[name]}" for name in record.cell.scaled or ()]
        if own:
            sizes.append(f"{record.title} {', '.join(own)}")
    if not sizes:
        return ()
    return (f"Sizes in proportion to the backbone: {'; '.join(dict.fromkeys(sizes))}.",)


def _score(runs: Sequence[EvaluationRecord]) -> MatrixScore:
    """Of one place: one evaluation per seed; of two of a seed, as after a new training, the last counts."""
    by_seed = {record.cell.seed: record for record in runs}
    kept = list(by_seed.values())
    # A number that some seed lacks is not known of the place.
    counts = [record.leaks.shared_images for record in kept]
    known = [count for count in counts if count is not None]
    rest = [record.leaks.without_shared for record in kept]
    left = [scores.mean for scores in rest if scores is not None]
    return MatrixScore(
        mean=100 * mean(record.scores.mean for record in kept),
        seeds=len(kept),
        shared=max(known) if len(known) == len(counts) else None,
        without=100 * mean(left) if left and len(left) == len(kept) else None,
    )


def build_across(groups: Sequence[Group], evidence: ResampledScores) -> list[Table]:
    """The table of each matrix of the results folder, then those of other words; [] without evaluations."""
    return [*map(across_table, matrices(evidence.folder)), *word_tables(evidence.folder)]


def across_table(matrix: Matrix) -> Table:
    """One row per training set, one column per evaluation split."""
    footnotes = Footnotes()
    headers = [Header("", "Trained on", "left")]
    headers += [Header(column.title, column.name) for column in matrix.columns]
    rows: list[EntryRow] = []
    for name in matrix.rows:
        entries = [_entry(matrix.scores.get((name, column)), footnotes) for column in matrix.columns]
        rows.append((Entry(name), *entries))
    # Places may have different numbers of seeds.
    seeds = sorted({score.seeds for score in matrix.scores.values()})
    counted = " to ".join(map(str, seeds))
    noun = "seed" if seeds == [1] else "seeds"
    notes = (
        f"{matrix.metric} in percent, mean over {counted} {noun}. A row is a training set, a column an evaluation "
        "split: evaluations by barbench evaluate --cell, which are no records of cells and are not ranked with them. "
        "-: not evaluated.",
        *matrix.notes,
    )
    return Table(
        title=f"{matrix.method}: trained on A, evaluated on B",
        caption=matrix.caption,
        headers=tuple(headers),
        sections=(Section("", tuple(rows)),),
        notes=notes,
        footnotes=tuple(footnotes.texts),
        number=NUMBER,
    )


def _entry(score: MatrixScore | None, footnotes: Footnotes) -> Entry:
    if score is None:
        return Entry("-")
    text = f"{score.mean:.1f}"
    if score.shared is None:
        marks = footnotes.add("It is not known whether images of this split trained the model.")
    elif score.shared:
        rest = "no image is left without them" if score.without is None else f"{score.without:.1f} without them"
        marks = footnotes.add(f"{score.shared:,} images of this split trained the model; {rest}.")
    else:
        marks = ()
    return Entry(text, score.mean, footnotes=marks)


def word_tables(folder: Path) -> list[Table]:
    """A table for each split on which the cells of a results folder were evaluated in other words; [] without any."""
    by_split: dict[tuple[object, ...], list[EvaluationRecord]] = defaultdict(list)
    for record in load_all(folder):
        evaluated = record.evaluated
        by_split[*_comparable(record), record.cell.dataset, evaluated.dataset, evaluated.split].append(record)
    store = Store(folder)
    found = []
    for key in sorted(by_split, key=repr):
        if any(record.evaluated.text != ORIGINAL for record in by_split[key]):
            found.append(_words(store, by_split[key]))
    return found


def _words(store: Store, records: Sequence[EvaluationRecord]) -> Table:
    """One row per method, one column per text, and what became of expressions that mean nothing."""
    first = records[0]
    by_method: dict[tuple[str, str], dict[str, list[EvaluationRecord]]] = defaultdict(lambda: defaultdict(list))
    changed = {}
    for record in records:
        text = record.evaluated.text
        by_method[_method(record)][text].append(record)
        if record.changed is not None:
            changed[text] = f"{record.changed:,} ({text})"
    # The data's own words first, then the others that were tried.
    texts = [ORIGINAL, *sorted(changed)]
    footnotes = Footnotes()
    metric = METRICS[first.scores.mean_name].label
    headers = [Header("", "Method", "left"), *(Header(metric, text) for text in texts)]
    if ABSENT in changed:
        headers += [Header(ABSENT, "empty masks"), Header(ABSENT, "AUROC of peak")]
    rows: list[EntryRow] = []
    for (title, _), by_text in by_method.items():
        entries = [_entry(_score(by_text[text]) if by_text[text] else None, footnotes) for text in texts]
        if ABSENT in changed:
            entries += _of_absent(store, by_text[ABSENT])
        rows.append((Entry(title), *entries))
    column = Column(first.evaluated.dataset, first.evaluated.split)
    # The best in the data's own words comes first.
    rows.sort(key=lambda row: row[1].value or 0.0, reverse=True)
    return Table(
        title=f"In other words: {column.title} {column.name}, trained on {first.cell.dataset}",
        caption=_caption(first),
        headers=tuple(headers),
        sections=(Section("", tuple(rows)),),
        notes=(
            f"{metric} in percent with the object that the data's own expression means, by barbench evaluate --cell "
            f"--text, over all {first.scores.n:,} expressions; words are others in "
            f"{listed([changed[text] for text in sorted(changed)])}.",
            f"{ABSENT}: the expressions mean nothing in their images. Empty masks: how often nothing is predicted, as "
            "would be right. AUROC of peak: how often the highest probability is larger for an expression of the data "
            "than for one that means nothing, of all pairs; 50 is chance.",
            *_sizes(records),
        ),
        footnotes=tuple(footnotes.texts),
        number=NUMBER,
    )


def _of_absent(store: Store, records: Sequence[EvaluationRecord]) -> list[Entry]:
    """The share of empty masks, and how well the peak tells such expressions from those of the data, over the seeds."""
    empty: list[float] = []
    separated: list[float] = []
    for record in records:
        # The same evaluation in the data's own words.
        own = record.evaluated.model_copy(update={"text": ORIGINAL, "text_seed": 0})
        absent = load(store, record.cell, record.evaluated)
        present = load(store, record.cell, own)
        if absent is None or present is None:
            continue
        empty.append(100 * float((predicted_pixels(absent.columns) == 0).mean()))
        area = auroc(present.columns["peak"], absent.columns["peak"])
        if area is not None:
            separated.append(100 * area)
    return [_mean(empty), _mean(separated)]


def _mean(values: Sequence[float]) -> Entry:
    if not values:
        return Entry("-")
    return Entry(f"{mean(values):.1f}", mean(values))
