"""What the counts of single expressions say beside the scores: objects and sentences, intervals by image, P@X with
"at least", mean IoU by size. `barbench report --table objects`, and a section of the page."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from barbench.metrics import (
    ALL_THRESHOLDS,
    METRICS,
    SIZE_RULES,
    SIZES,
    THRESHOLDS,
    Columns,
    all_name,
    exact_ties,
    objects_of,
    precision_name,
    shared_objects,
    size_name,
    weak_name,
)
from barbench.paper.tables import Column
from barbench.reports.tables.averages import printed
from barbench.reports.tables.grouping import Group, MethodRow
from barbench.reports.tables.rows_measured import number
from barbench.reports.tables.significance import runs_of
from barbench.reports.tables.table import Entry, EntryRow, Header, Section, Table
from barbench.results.clustered import clustered_score
from barbench.results.interval import mean
from barbench.results.resampled import ResampledScores

NUMBER: Final = "objects"
"""What `--table` calls these tables."""
_SHOWN: Final = 5
"""Exceptions that are named one by one."""


class Evaluated(NamedTuple):
    """One method on one split: the columns of each of its runs."""

    label: str
    runs: tuple[Columns, ...]


Splits = Mapping[Column, Sequence[Evaluated]]
Cells = Callable[[Evaluated], list[Entry]]


def object_tables(members: Group, evidence: ResampledScores, caption: str = "") -> list[Table]:
    """The tables of one group, with that caption; [] if its records have no such counts."""
    splits = splits_of(members, evidence)
    if not splits:
        return []
    return [
        _objects_table(splits, caption),
        _intervals_table(splits, caption),
        _precision_table(splits, caption),
        *_size_table(splits, caption),
    ]


def splits_of(members: Group, evidence: ResampledScores, metric: str = "object_mean") -> Splits:
    """What was evaluated and defines that metric, by column of the paper's tables, in the order of the table's rows."""
    splits = {}
    for column in members.measured:
        evaluated = [_evaluated(row, column, evidence, metric) for row in members.rows]
        found = [one for one in evaluated if one.runs]
        if found:
            splits[column] = found
    return splits


def _evaluated(row: MethodRow, column: Column, evidence: ResampledScores, metric: str) -> Evaluated:
    """The runs whose counts are there and define the metric."""
    runs = []
    for _, run in sorted(runs_of(row, column).items()):
        columns = evidence.counts(run)
        if columns is not None and METRICS[metric].applies(columns):
            runs.append(columns)
    return Evaluated(row.label, tuple(runs))


def _objects_table(splits: Splits, caption: str) -> Table:
    names = [all_name(threshold) for threshold in ALL_THRESHOLDS]
    headers = [Header("Every sentence", METRICS[name].label) for name in names]
    headers.append(Header("Every sentence", "worst"))
    headers += [Header("", "Object mean"), Header("", "Spread"), Header("", "ICC(1)")]

    def cells(one: Evaluated) -> list[Entry]:
        entries = [with_margin(name, one) for name in (*names, "worst", "object_mean")]
        entries.append(plain("object_spread", one))
        entries.append(plain("icc", one, digits=2))
        return entries

    notes = [
        "All@t: share of the objects whose every sentence finds it with an IoU of at least t. Worst: mean over objects "
        "of the lowest IoU of a sentence. Both are over objects with two sentences or more; they fall with the number "
        "of sentences, so that they compare within a data set alone.",
        "Object mean: each object counts once. Spread: pooled standard deviation of the IoU of one object's sentences, "
        "in points. ICC(1): share of the IoU's variance that belongs to the object and not to the sentence.",
        COVERS,
        *_exceptions(splits),
    ]
    return table_of("Objects and sentences", caption, headers, sections_of(splits, cells, _objects_of_split), notes)


def _intervals_table(splits: Splits, caption: str) -> Table:
    headers = []
    for label in ("mIoU", "oIoU"):
        headers += [Header(label, "by image"), Header(label, "by object"), Header(label, "design effect")]

    def cells(one: Evaluated) -> list[Entry]:
        entries = []
        for name in ("miou", "oiou"):
            found = clustered_score(METRICS[name], one.runs)
            for ratio in (found.by_image, found.by_object):
                interval = ratio.interval.times(100)
                entries.append(Entry(number(interval), interval.mean))
            effect = found.design_effect
            entries.append(Entry("-") if effect is None else Entry(printed(effect, 2), effect))
        return entries

    notes = [
        COVERS,
        "By object: the same formula with objects as clusters. Design effect: the variance by image over that by "
        "object. Above 1, objects of one image succeed and fail together; below 1, one is found where another is "
        "missed. Decide by image: objects of one image are not independent.",
    ]
    return table_of(
        "Intervals by image and by object", caption, headers, sections_of(splits, cells, sizes_of_split), notes
    )


def _precision_table(splits: Splits, caption: str) -> Table:
    headers = []
    for threshold in THRESHOLDS:
        label = METRICS[precision_name(threshold)].label
        headers += [Header(label, ">"), Header(label, "≥"), Header(label, "ties")]

    def cells(one: Evaluated) -> list[Entry]:
        entries = []
        for threshold in THRESHOLDS:
            entries.append(plain(precision_name(threshold), one))
            entries.append(plain(weak_name(threshold), one))
            ties = sum(exact_ties(columns, threshold) for columns in one.runs)
            entries.append(Entry(f"{ties:,}", float(ties)))
        return entries

    notes = [
        ">: strictly above X, as CRIS, ETRIS, DETRIS, PhraseCut and barbench count. ≥: at least X, as LAVT, DMMI and "
        "R-RefCOCO count. Ties: expressions of all seeds with an IoU of exactly X, by which the two differ.",
    ]
    return table_of("P@X, above and at least", caption, headers, sections_of(splits, cells, sizes_of_split), notes)


def _size_table(splits: Splits, caption: str) -> list[Table]:
    """One table; none where no record has the sizes of images."""
    names = [size_name(rule, place) for rule in SIZE_RULES for place in range(len(SIZES))]
    headers = []
    for rule in SIZE_RULES.values():
        headers += [Header(rule.title, label) for label in rule.labels]
    # Columns whose records have the sizes.
    known = {}
    for column, evaluated in splits.items():
        sized = [one for one in evaluated if all(METRICS[names[0]].applies(columns) for columns in one.runs)]
        if sized:
            known[column] = sized
    if not known:
        return []

    def cells(one: Evaluated) -> list[Entry]:
        return [with_margin(name, one) for name in names]

    sections = with_counts(sections_of(known, cells, sizes_of_split), known, names)
    notes = [
        "Size of the annotated mask. PhraseCut: its share of the image's area, bounds 2 % and 20 %. COCO: pixels of "
        "the image as it is stored, bounds 32² and 96². An object on a bound is of the middle size.",
        COVERS,
    ]
    return [table_of("Mean IoU by size", caption, headers, sections, notes)]


COVERS: Final = (
    "±: half of the 95% interval over images, by the formula for clusters (expressions of one image are not "
    "independent); it says nothing of other trainings. Without ±: one image, or no image differs. -: not defined here."
)


def sections_of(splits: Splits, cells: Cells, describe: Callable[[Columns], str]) -> list[Section]:
    """One section per split, one row per method."""
    sections = []
    for column, evaluated in splits.items():
        rows: list[EntryRow] = []
        for one in evaluated:
            rows.append((Entry(one.label), *cells(one)))
        heading = f"{column.title} {column.name}: {describe(evaluated[0].runs[0])}"
        sections.append(Section(heading, tuple(rows)))
    return sections


def with_counts(sections: Sequence[Section], splits: Splits, names: Sequence[str]) -> list[Section]:
    """The sections of `splits`, each with a last row: how many expressions each metric is over, the same for all
    methods."""
    counted = []
    for section, evaluated in zip(sections, splits.values(), strict=True):
        counts = [Entry("expressions")]
        for name in names:
            count = _counted(name, evaluated[0].runs[0])
            counts.append(Entry(f"{count:,}", float(count)))
        counted.append(Section(section.heading, (*section.rows, tuple(counts))))
    return counted


def _objects_of_split(columns: Columns) -> str:
    sentences = objects_of(columns).sentences
    several = int(np.count_nonzero(sentences > 1))
    return f"{len(sentences):,} objects, {several:,} of them with two sentences or more"


def sizes_of_split(columns: Columns) -> str:
    """How many expressions, objects and images a split has, in words."""
    images = columns["image_id"]
    objects = len(objects_of(columns).sentences)
    return f"{len(images):,} expressions, {objects:,} objects, {len(np.unique(images)):,} images"


def plain(name: str, one: Evaluated, digits: int = 1) -> Entry:
    """A metric, the mean over seeds."""
    # A run may have no expression that the metric is over.
    metric = METRICS[name]
    scores = []
    for columns in one.runs:
        score = metric.function(columns)
        if score is not None:
            scores.append(metric.factor * score)
    if not scores:
        return Entry("-")
    value = mean(scores)
    return Entry(printed(value, digits).replace("-", "−"), value)


def with_margin(name: str, one: Evaluated) -> Entry:
    """A metric that is a ratio of sums, with its interval over images."""
    metric = METRICS[name]
    if any(metric.function(columns) is None for columns in one.runs):
        return Entry("-")
    interval = clustered_score(metric, one.runs).by_image.interval.times(metric.factor)
    return Entry(number(interval), interval.mean)


def _counted(name: str, columns: Columns) -> int:
    terms = METRICS[name].terms
    assert terms is not None
    return int(terms(columns)[1].sum())


def _exceptions(splits: Splits) -> list[str]:
    """A note on objects that several references name; none as a rule."""
    # What several references name, by column.
    found: dict[Column, list[tuple[int, int, tuple[int, ...]]]] = defaultdict(list)
    for column, evaluated in splits.items():
        columns = evaluated[0].runs[0]
        if "ref_id" in columns:
            found[column] += shared_objects(columns)
    # A few are named, the others counted.
    notes = []
    for column, several in found.items():
        if not several:
            continue
        named = []
        for image, ann, references in several[:_SHOWN]:
            named.append(f"object {ann} of image {image} (references {', '.join(map(str, references))})")
        more = f" and {len(several) - _SHOWN:,} more" if len(several) > _SHOWN else ""
        notes.append(
            f"{column.title} {column.name}: several references name one object, which counts once: "
            f"{'; '.join(named)}{more}."
        )
    return notes


def table_of(
    title: str,
    caption: str,
    headers: Sequence[Header],
    sections: Sequence[Section],
    notes: Sequence[str],
    number: str = NUMBER,
) -> Table:
    """A table whose first column names the method."""
    return Table(
        title=title,
        caption=caption,
        headers=(Header("", "Method", "left"), *headers),
        sections=tuple(sections),
        notes=tuple(notes),
        number=number,
    )
