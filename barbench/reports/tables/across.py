"""Trained on one data set, evaluated on another: the evaluations of `barbench evaluate --cell` as a matrix. `barbench
report --table across`, and a section of the page with a heat map."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Final, NamedTuple

from barbench.paper.tables import Column
from barbench.reports.tables.grouping import Group, conditions_of, in_order
from barbench.reports.tables.notes import capitalized, describe_conditions
from barbench.reports.tables.table import Entry, EntryRow, Footnotes, Header, Section, Table
from barbench.results.evaluations import ORIGINAL, EvaluationRecord, load_all
from barbench.results.resampled import ResampledScores

NUMBER: Final = "across"
"""What `--table` calls these tables."""


class Score(NamedTuple):
    """A place of a matrix.

    Attributes:
        mean: of the seeds, in percent.
        seeds: how many.
        shared: images of the split that some of the cells were trained on; None: unknown.
        without: the mean without those images; None where there are none, or where nothing is left.
    """

    mean: float
    seeds: int
    shared: int | None
    without: float | None


class Matrix(NamedTuple):
    """The evaluations of one method under one set of conditions.

    Attributes:
        method: its title, with its options.
        caption: the conditions, as a sentence.
        metric: what the scores are.
        rows: the data sets that cells were trained on.
        columns: the splits that they were evaluated on.
        scores: by row and column.
    """

    method: str
    caption: str
    metric: str
    rows: list[str]
    columns: list[Column]
    scores: dict[tuple[str, Column], Score]


def matrices(folder: Path) -> list[Matrix]:
    """The matrices of a results folder, from the evaluations in the data's own words; [] without any."""
    by_method: dict[tuple[object, ...], list[EvaluationRecord]] = defaultdict(list)
    for record in load_all(folder):
        evaluated = record.evaluated
        if evaluated.text == ORIGINAL:
            # What the cell was trained on differs between rows; what it is scored with must not.
            conditions = conditions_of(record.cell)._replace(metric=record.scores.mean_name)
            scored = (evaluated.threshold, evaluated.context_length, evaluated.limit)
            by_method[conditions, *scored, _title(record)].append(record)
    found = []
    for key in sorted(by_method, key=repr):
        found.append(_matrix(by_method[key]))
    return found


def _matrix(records: Sequence[EvaluationRecord]) -> Matrix:
    """Of evaluations that differ in training set, split and seed alone."""
    first = records[0]
    places: dict[tuple[str, Column], list[EvaluationRecord]] = defaultdict(list)
    for record in records:
        places[record.cell.dataset, Column(record.evaluated.dataset, record.evaluated.split)].append(record)
    scores = {place: _score(runs) for place, runs in places.items()}
    caption = describe_conditions(conditions_of(first.cell), ())
    if first.evaluated.limit is not None:
        caption = f"{caption} Evaluated on {first.evaluated.limit} images of each split."
    rows = list(dict.fromkeys(column.dataset for column in in_order([Column(row, "") for row, _ in scores])))
    return Matrix(
        method=_title(first),
        caption=capitalized(caption),
        metric="gIoU" if first.scores.mean_name == "giou" else "mIoU",
        rows=rows,
        columns=list(in_order({column for _, column in scores})),
        scores=scores,
    )


def _title(record: EvaluationRecord) -> str:
    """The method's title, with its options behind it."""
    options = [f"{name}={value}" for name, value in sorted(record.cell.options.items())]
    return ", ".join([record.title, *options])


def _score(runs: Sequence[EvaluationRecord]) -> Score:
    """Of one place: one evaluation per seed; of two of a seed, as after a new training, the last counts."""
    by_seed = {record.cell.seed: record for record in runs}
    kept = list(by_seed.values())
    counts = [record.leaks.shared_images for record in kept]
    known = [count for count in counts if count is not None]
    rest = [record.leaks.without_shared for record in kept]
    left = [scores.mean for scores in rest if scores is not None]
    return Score(
        mean=100 * mean(record.scores.mean for record in kept),
        seeds=len(kept),
        shared=max(known) if len(known) == len(counts) else None,
        without=100 * mean(left) if left and len(left) == len(kept) else None,
    )


def build_across(groups: Sequence[Group], evidence: ResampledScores) -> list[Table]:
    """The table of each matrix of the results folder; [] without evaluations."""
    return [across_table(matrix) for matrix in matrices(evidence.folder)]


def across_table(matrix: Matrix) -> Table:
    """One row per training set, one column per evaluation split."""
    footnotes = Footnotes()
    headers = [Header("", "Trained on", "left")]
    headers += [Header(column.title, column.name) for column in matrix.columns]
    rows: list[EntryRow] = []
    for name in matrix.rows:
        entries = [_entry(matrix.scores.get((name, column)), footnotes) for column in matrix.columns]
        rows.append((Entry(name), *entries))
    seeds = sorted({score.seeds for score in matrix.scores.values()})
    notes = (
        f"{matrix.metric} in percent, mean over {' to '.join(map(str, seeds))} seeds. A row is a training set, a "
        "column an evaluation split: evaluations by `barbench evaluate --cell`, which are no records of cells and are "
        "not ranked with them. -: not evaluated.",
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


def _entry(score: Score | None, footnotes: Footnotes) -> Entry:
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
