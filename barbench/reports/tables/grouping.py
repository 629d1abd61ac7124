"""Groups records into the rows of a table: what may be compared, seeds together, the paper's columns."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from barbench.metrics import METRICS, ranking_metric
from barbench.paper.mixtures import MEMBERS
from barbench.paper.partitions import PARTITIONS
from barbench.paper.tables import FULL, HEAD_ONLY, MIXED, PAPER_COLUMNS, PAPER_METHODS, Column
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
    """

    records: tuple[Record, ...]
    label: str
    scores: dict[str, SeedScores] = field(default_factory=dict)
    control: SeedScores = field(default_factory=dict)
    leaks: set[Column] = field(default_factory=set)

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
    def composition(self) -> tuple[str, ...]:
        """Labels of the method's components."""
        return self.records[0].composition

    @property
    def is_reference(self) -> bool:
        """Whether the row is one of the two ends, tuning nothing or tuning everything, without options."""
        return self.records[0].cell.method in (HEAD_ONLY, FULL) and not self.records[0].cell.options

    @property
    def options(self) -> str:
        """The method's options as `name=value`."""
        return ", ".join(f"{name}={value}" for name, value in sorted(self.records[0].cell.options.items()))

    def failures(self, datasets: Collection[str]) -> list[Record]:
        """Records of failed cells that would have been evaluated on one of `datasets`."""
        return [r for r in self.records if r.status != "done" and not set(datasets).isdisjoint(evaluated(r))]

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
        """Leave out datasets; rows, order and labels are then as if their records did not exist.

        Args:
            omitted: tells whether a dataset is left out.

        Returns:
            A group that may have no rows.
        """
        kept = [record for record in self.records if not omitted(record.cell.dataset)]
        return self if len(kept) == len(self.records) else Group(self.conditions, _rows(_ordered(kept)))

    @property
    def records(self) -> list[Record]:
        """The records of all rows."""
        return [record for row in self.rows for record in row.records]

    @property
    def measured(self) -> tuple[Column, ...]:
        """The columns that some row measured."""
        return in_order({column for row in self.rows for column in row.iou})

    @property
    def seeds(self) -> frozenset[int]:
        """The seeds of all rows."""
        return frozenset(seed for row in self.rows for by_seed in row.iou.values() for seed in by_seed)

    @property
    def leaking(self) -> frozenset[Column]:
        """The columns that leak for every row that measured them: then the column is marked, and not the single
        score."""
        return frozenset(c for c in self.measured if all(c in row.leaks for row in self.rows if c in row.iou))

    @property
    def attempted(self) -> tuple[Column, ...]:
        """The measured columns, and those of datasets of which every cell failed."""
        measured = self.measured
        lost = {name for record in self.records for name in evaluated(record)} - {column.dataset for column in measured}
        known = {column for column in PAPER_COLUMNS if column.dataset in lost}
        unknown = {Column(dataset, "all") for dataset in lost - {column.dataset for column in known}}
        return in_order({*measured, *known, *unknown})


def evaluated(record: Record) -> tuple[str, ...]:
    """The datasets that a record's cell is evaluated on: its own, or the members of its mixture."""
    return tuple(p.name for p in MEMBERS) if record.cell.dataset in MIXED else (record.cell.dataset,)


def by_column(record: Record) -> dict[Column, SplitResult]:
    """The splits of a record by their columns in the paper's tables."""
    return {Column(record.dataset_of(name), split.column): split for name, split in record.splits.items()}


def in_order(columns: Iterable[Column]) -> tuple[Column, ...]:
    """The columns in the paper's order; others follow by name."""
    general = (Column(p.name, p.columns[split]) for p in PARTITIONS for split in p.eval_splits if p.allows_no_target)
    paper = {column: index for index, column in enumerate((*PAPER_COLUMNS, *general))}
    return tuple(sorted(columns, key=lambda column: (paper.get(column, len(paper)), column)))


def name_columns(columns: Iterable[Column], values: Mapping[Column, str] | None = None) -> str:
    """Name columns in words.

    Args:
        columns: in the order of printing.
        values: printed behind the names.

    Returns:
        For example `RefCOCO val, testA; G-Ref val(u)`.
    """
    datasets: dict[str, list[str]] = defaultdict(list)
    for column in columns:
        datasets[column.title].append(f"{column.name} {values[column]}" if values else column.name)
    return "; ".join(f"{dataset} {', '.join(names)}" for dataset, names in datasets.items())


def group(records: Iterable[Record]) -> list[Group]:
    """Group records by what may be compared; their order does not matter.

    Args:
        records: of any cells, finished or not.

    Returns:
        One group per set of conditions, sorted.
    """
    versions: dict[tuple[Conditions, str], set[str]] = defaultdict(set)
    ordered = _ordered(records)
    for record in ordered:
        versions[_conditions(record.cell), record.cell.dataset].add(record.cell.data.fingerprint)
    tables: dict[Conditions, list[Record]] = defaultdict(list)
    for record in ordered:
        conditions = _conditions(record.cell)
        if len(versions[conditions, record.cell.dataset]) > 1:
            conditions = conditions._replace(data_version=record.cell.data.fingerprint)
        tables[conditions].append(record)
    return [Group(conditions, _rows(tables[conditions])) for conditions in sorted(tables)]


def _ordered(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: record.cell.stem())


def _conditions(cell: Cell) -> Conditions:
    told = {"method", "options", "dataset", "seed", *Conditions._fields}
    other = cell.model_dump(mode="json", exclude=told, exclude_defaults=True)
    return Conditions(
        backbone=cell.backbone,
        weights=cell.weights,
        image_size=cell.image_size or 0,
        precision=cell.precision,
        data=cell.data.kind,
        data_version="",
        recipe=json.dumps(cell.shared_recipe(), sort_keys=True),
        other=", ".join(f"{name}={value}" for name, value in sorted(other.items())),
        metric=ranking_metric(cell.dataset in PARTITIONS and PARTITIONS.get(cell.dataset).allows_no_target).label,
    )


def _rows(records: Sequence[Record]) -> tuple[MethodRow, ...]:
    methods: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        mixture = MIXED.get(record.cell.dataset, "")  # trained on more data: a row of its own
        methods[record.cell.method, json.dumps(record.cell.options, sort_keys=True), mixture].append(record)
    rows = sorted((_row(members) for members in methods.values()), key=_rank)
    return tuple(_labelled(rows))


def _row(records: Sequence[Record]) -> MethodRow:
    done_first = tuple(sorted(records, key=lambda record: record.status != "done"))
    row = MethodRow(done_first, done_first[0].title + MIXED.get(done_first[0].cell.dataset, ""))
    for record in records:
        for column, split in by_column(record).items() if record.status == "done" else ():
            for name, metric in METRICS.items():
                if name in split.scores.values:
                    values = row.scores.setdefault(name, {})
                    values.setdefault(column, {})[record.cell.seed] = metric.factor * split.scores[name]
            if split.control is not None:
                row.control.setdefault(column, {})[record.cell.seed] = 100 * split.control.mean
            if split.leaks:
                row.leaks.add(column)
    return row


def _rank(row: MethodRow) -> tuple[int, int, int, str, str, str]:
    """Key of the rows' order: rows without component, then the paper's rows in its order, then the others by numbers of
    components and parameters; mixed training after training on one dataset."""
    record = row.records[0]
    paper = PAPER_METHODS.index(record.cell.method) if record.cell.method in PAPER_METHODS else len(PAPER_METHODS)
    place = paper if row.composition else -1
    if record.cell.method == FULL:
        place = len(PAPER_METHODS) + 1
    size = max(row.parameters("adapter"), default=0)
    return place, len(row.composition), size, record.cell.method, row.options, MIXED.get(record.cell.dataset, "")


def _labelled(rows: Sequence[MethodRow]) -> list[MethodRow]:
    """Rows with equal titles, told apart by method name and options."""
    titles = Counter(row.label for row in rows)

    def label(row: MethodRow) -> str:
        detail = ", ".join(filter(None, (row.records[0].cell.method, row.options)))
        return f"{row.label} ({detail})" if titles[row.label] > 1 else row.label

    return [replace(row, label=label(row)) for row in rows]
