"""Groups records into the rows of a table: what may be compared, seeds together, the paper's columns."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from barbench.metrics import METRICS, ranking_metric
from barbench.paper.mixtures import MEMBERS
from barbench.paper.partitions import PARTITIONS
from barbench.paper.tables import FULL, HEAD_ONLY, MIXED, OWN_NECKS, PAPER_COLUMNS, PAPER_METHODS, Column
from barbench.results.record import Cell, Record, SplitResult

SeedScores = dict[Column, dict[int, float]]
"""Column -> seed -> IoU in percent."""


class Conditions(NamedTuple):
    """What records of one table must have in common; `data_version` is set only if a dataset has several."""

    backbone: str
    weights: str
    image_size: int
    precision: str
    data: str
    data_version: str
    recipe: str
    other: str
    """Every remaining field of the cell that is not at its default, so that a field added later is never mixed."""
    metric: str = "mIoU"
    """What `MethodRow.iou` is: gIoU for gRefCOCO."""
    subset: str = ""
    """The images that the cells are limited to, in words; empty for all."""
    neck: str = "etris"
    """Of the segmentation head; `own`: that of a backbone from a folder."""
    head_form: str = "full"
    """Of the segmentation head; `own` as for the neck."""

    @property
    def head(self) -> str:
        """Neck and form of the head in words."""
        if self.head_form == "linear":
            return "linear head"
        return f"neck {self.neck}"

    @property
    def recipe_fields(self) -> dict[str, object]:
        """The recipe's fields."""
        fields: dict[str, object] = json.loads(self.recipe)
        return fields


@dataclass(frozen=True)
class MethodRow:
    """One method under one table's conditions: its records over datasets and seeds, finished ones first.

    Attributes:
        records: at least one.
        label: the method's title, made unique in its table.
        scores: by metric, as METRICS names them.
        control: mean IoU with expressions swapped within the image.
        leaks: columns with images that some record of the row was trained on.
        hidden: finished records of which some score is not shown, because another record has its seed and column.
    """

    records: tuple[Record, ...]
    label: str
    scores: dict[str, SeedScores] = field(default_factory=dict)
    control: SeedScores = field(default_factory=dict)
    leaks: set[Column] = field(default_factory=set)
    hidden: list[Record] = field(default_factory=list)

    @property
    def iou(self) -> SeedScores:
        """The scores that rank: mean IoU, or gIoU for gRefCOCO."""
        return self._of_role("mean")

    @property
    def overall(self) -> SeedScores:
        """Overall IoU of the same expressions."""
        return self._of_role("overall")

    def _of_role(self, role: str) -> SeedScores:
        """The scores of the metric with that role; all records of a group have the same one."""
        for name, values in self.scores.items():
            if METRICS[name].role == role:
                return values
        return {}

    @property
    def cell(self) -> Cell:
        """The cell of the first record: all of the row agree in method, options and learning rates."""
        return self.records[0].cell

    @property
    def composition(self) -> tuple[str, ...]:
        """Labels of the method's components."""
        return self.records[0].composition

    @property
    def is_reference(self) -> bool:
        """Whether the row is one of the two ends, tuning nothing or tuning everything, without options."""
        return self.cell.method in (HEAD_ONLY, FULL) and not self.options

    @property
    def options(self) -> str:
        """The chosen options of the method as `name=value`."""
        return _pairs(sorted(self.cell.chosen.items()))

    @property
    def sizes(self) -> str:
        """The options that follow the backbone's width, as `name=value`."""
        return _pairs((name, self.cell.options[name]) for name in self.cell.scaled or ())

    @property
    def rates(self) -> str:
        """The method's own part of the recipe as `name=value`; empty where all methods share the recipe."""
        return _pairs(self.cell.own_recipe().items())

    def failures(self, datasets: Collection[str]) -> list[Record]:
        """Records of failed cells that would have been evaluated on one of `datasets`."""
        wanted = set(datasets)
        failed = []
        for record in self.records:
            if record.status != "done" and wanted.intersection(evaluated(record)):
                failed.append(record)
        return failed

    def parameters(self, group: str) -> list[int]:
        """Distinct counts of one ledger group over the row's records, sorted; several if the count depends on the
        dataset."""
        return sorted({record.ledger[group] for record in self.records if group in record.ledger})


@dataclass(frozen=True)
class Group:
    """The rows of one table, in the paper's order."""

    conditions: Conditions
    rows: tuple[MethodRow, ...]

    def without(self, omitted: Callable[[str], bool]) -> "Group":
        """Leave out data sets; rows, order and labels are then as if their records did not exist, and there may be no
        rows."""
        kept = [record for record in self.records if not omitted(record.cell.dataset)]
        if len(kept) == len(self.records):
            return self
        return Group(self.conditions, _rows(_ordered(kept)))

    @property
    def records(self) -> list[Record]:
        """The records of all rows."""
        return [record for row in self.rows for record in row.records]

    @property
    def measured(self) -> tuple[Column, ...]:
        """The columns that some row measured."""
        return in_order({column for row in self.rows for column in row.iou})

    @property
    def shared(self) -> tuple[Column, ...]:
        """The columns that all rows with a score measured; if there is none, those that most of them measured."""
        counts: Counter[Column] = Counter()
        for row in self.rows:
            counts.update(row.iou.keys())
        most = max(counts.values(), default=0)
        return in_order(column for column, count in counts.items() if count == most)

    @property
    def seeds(self) -> frozenset[int]:
        """The seeds of all rows."""
        seeds: set[int] = set()
        for row in self.rows:
            for by_seed in row.iou.values():
                seeds.update(by_seed)
        return frozenset(seeds)

    @property
    def leaking(self) -> frozenset[Column]:
        """The columns that leak for every row that measured them: then the column is marked, and not the single
        score."""
        leaking = set(self.measured)
        for row in self.rows:
            leaking -= row.iou.keys() - row.leaks
        return frozenset(leaking)

    @property
    def attempted(self) -> tuple[Column, ...]:
        """The measured columns, and those of data sets of which every cell failed."""
        columns = set(self.measured)
        lost = {name for record in self.records for name in evaluated(record)}
        lost -= {column.dataset for column in columns}
        for name in lost:
            own = [column for column in PAPER_COLUMNS if column.dataset == name]
            # A data set that the paper does not have gets one column for all its splits.
            columns.update(own or [Column(name, "all")])
        return in_order(columns)


def _pairs(fields: Iterable[tuple[str, object]]) -> str:
    return ", ".join(f"{name}={value}" for name, value in fields)


def evaluated(record: Record) -> tuple[str, ...]:
    """The data sets that a record's cell is evaluated on: its own, or the members of its mixture."""
    if record.cell.dataset in MIXED:
        return tuple(member.name for member in MEMBERS)
    return (record.cell.dataset,)


def by_column(record: Record) -> dict[Column, SplitResult]:
    """The splits of a record by their columns in the paper's tables."""
    splits = {}
    for name, split in record.splits.items():
        splits[Column(record.dataset_of(name), split.column)] = split
    return splits


def in_order(columns: Iterable[Column]) -> tuple[Column, ...]:
    """The columns in the paper's order; then those of data sets with absent targets; others follow by name."""
    known = list(PAPER_COLUMNS)
    for partition in PARTITIONS:
        if partition.allows_no_target:
            names = [partition.columns[split] for split in partition.eval_splits]
            known += [Column(partition.name, name) for name in names]
    places = {column: place for place, column in enumerate(known)}
    return tuple(sorted(columns, key=lambda column: (places.get(column, len(places)), column)))


def name_columns(columns: Iterable[Column], values: Mapping[Column, str] | None = None) -> str:
    """Columns by their data sets, with values behind them if there are any: `RefCOCO val, testA; G-Ref val(u)`."""
    datasets: dict[str, list[str]] = defaultdict(list)
    for column in columns:
        name = f"{column.name} {values[column]}" if values else column.name
        datasets[column.title].append(name)
    parts = [f"{dataset} {', '.join(names)}" for dataset, names in datasets.items()]
    return "; ".join(parts)


def group(records: Iterable[Record]) -> list[Group]:
    """Group records, finished or not, by what may be compared; the groups are sorted, the order of records does not
    matter."""
    ordered = [(record, _conditions(record)) for record in _ordered(records)]
    # The version of a data set counts only where the records of one set of conditions have several.
    versions: dict[tuple[Conditions, str], set[str]] = defaultdict(set)
    for record, conditions in ordered:
        versions[conditions, record.cell.dataset].add(record.cell.data.fingerprint)
    groups: dict[Conditions, list[Record]] = defaultdict(list)
    for record, conditions in ordered:
        if len(versions[conditions, record.cell.dataset]) > 1:
            conditions = conditions._replace(data_version=record.cell.data.fingerprint)
        groups[conditions].append(record)
    return [Group(conditions, _rows(groups[conditions])) for conditions in sorted(groups)]


def _ordered(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: record.cell.stem())


def _conditions(record: Record) -> Conditions:
    """Those of its cell; predictions that were scored again are in no table with those that were not."""
    conditions = conditions_of(record.cell)
    if record.rescored is None:
        return conditions
    others = [conditions.other, f"rescored={record.rescored.name}"]
    return conditions._replace(other=", ".join(filter(None, others)))


def conditions_of(cell: Cell) -> Conditions:
    """What a cell must have in common with all others of its table."""
    own = {"method", "options", "scaled", "dataset", "seed", *Conditions._fields}
    other = cell.model_dump(mode="json", exclude=own, exclude_defaults=True)
    # What a later version added to the identity of the data.
    other |= {f"data.{name}": value for name, value in (cell.data.model_extra or {}).items()}
    absent_targets = cell.dataset in PARTITIONS and PARTITIONS.get(cell.dataset).allows_no_target
    return Conditions(
        backbone=cell.backbone,
        weights=cell.weights,
        image_size=cell.image_size or 0,
        precision=cell.precision,
        data=cell.data.kind,
        data_version="",
        recipe=json.dumps(cell.shared_recipe(), sort_keys=True),
        other=_pairs(sorted(other.items())),
        metric=ranking_metric(absent_targets).label,
        subset=str(cell.subset or ""),
        neck=OWN_NECKS.get(cell.method, cell.neck_name),
        head_form=cell.form_name,
    )


def _rows(records: Sequence[Record]) -> tuple[MethodRow, ...]:
    methods: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        cell = record.cell
        options = json.dumps(cell.options, sort_keys=True)
        # Other learning rates are another training, and so is a mixture, which has more data: a row of its own.
        rates = json.dumps(cell.own_recipe(), sort_keys=True)
        mixture = MIXED.get(cell.dataset, "")
        methods[cell.method, options, rates, mixture].append(record)
    rows = sorted(map(_row, methods.values()), key=_rank)
    return tuple(_labeled(rows))


def _row(records: Sequence[Record]) -> MethodRow:
    done_first = tuple(sorted(records, key=lambda record: record.status != "done"))
    first = done_first[0]
    row = MethodRow(done_first, first.title + MIXED.get(first.cell.dataset, ""))
    for record in records:
        if record.status == "done":
            _add_scores(row, record)
    return row


def _add_scores(row: MethodRow, record: Record) -> None:
    seed = record.cell.seed
    for column, split in by_column(record).items():
        # The first record of a seed and a column counts.
        if seed in row.scores.get(split.scores.mean_name, {}).get(column, {}):
            if record not in row.hidden:
                row.hidden.append(record)
            continue
        for name, metric in METRICS.items():
            if name in split.scores.values:
                values = row.scores.setdefault(name, {})
                values.setdefault(column, {})[seed] = metric.factor * split.scores[name]
        if split.control is not None:
            row.control.setdefault(column, {})[seed] = 100 * split.control.mean
        if split.leaks:
            row.leaks.add(column)


def _rank(row: MethodRow) -> tuple[int, int, int, str, str, str, str]:
    """Key of the rows' order: rows without component, then the paper's rows in its order, then the others by numbers of
    components and parameters, then full fine-tuning; mixed training after training on one dataset."""
    cell = row.cell
    # Methods that the paper does not have lie behind its rows.
    place = len(PAPER_METHODS)
    if cell.method == FULL:
        place += 1
    elif not row.composition:
        place = -1
    elif cell.method in PAPER_METHODS:
        place = PAPER_METHODS.index(cell.method)
    size = max(row.parameters("adapter"), default=0)
    return (
        place,
        len(row.composition),
        size,
        cell.method,
        row.options + row.sizes,
        row.rates,
        MIXED.get(cell.dataset, ""),
    )


def _labeled(rows: Sequence[MethodRow]) -> list[MethodRow]:
    """Rows with equal titles get method name and options behind them, and what they still share a label in: rates."""
    titles = Counter(row.label for row in rows)
    labeled = []
    for row in rows:
        if titles[row.label] > 1:
            detail = ", ".join(part for part in (row.cell.method, row.options, row.sizes) if part)
            row = replace(row, label=f"{row.label} ({detail})")
        labeled.append(row)
    # Options may be equal where rates are not.
    labels = Counter(row.label for row in labeled)
    told_apart = []
    for row in labeled:
        if labels[row.label] > 1:
            alike = [other for other in labeled if other.label == row.label]
            row = replace(row, label=f"{row.label[:-1]}, {_differing_rates(row, alike)})")
        told_apart.append(row)
    return told_apart


def _differing_rates(row: MethodRow, alike: Sequence[MethodRow]) -> str:
    """The part of a row's own recipe in which rows of one label differ."""
    own = row.cell.own_recipe()
    every = [other.cell.own_recipe() for other in alike]
    names: dict[str, None] = {}
    for recipe in every:
        names.update(dict.fromkeys(recipe))
    differing = []
    for name in names:
        values = {json.dumps(recipe.get(name)) for recipe in every}
        if len(values) > 1:
            differing.append((name, own.get(name)))
    return _pairs(differing)
