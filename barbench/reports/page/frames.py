"""Data frames from the records of one group, for the drawings of the HTML page: score and cost, training,
parameters."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import pandas as pd

from barbench.paper.tables import Column
from barbench.reports.tables.averages import per_seed
from barbench.reports.tables.grouping import Group, MethodRow, in_order
from barbench.results.record import Record

PARTS: Final = ("adapter", "positional", "head", "frozen")
COSTS: Final = ("parameters", "memory", "training", "inference")
"""Tuned parameters in M (adapter group), peak memory in GiB, images per second in training and in evaluation."""


class Costs(NamedTuple):
    """Scores and costs of a group's methods.

    Attributes:
        frame: one row per method: label, then `iou` (percent) and each of COSTS, each with `<name>_low` and
            `<name>_high`, the lowest and the highest seed; NaN if not measured.
        columns: what the IoU is averaged over.
        machine: where memory and throughput were measured.
        absent: which methods lack a score or a measurement, and why.
    """

    frame: pd.DataFrame
    columns: tuple[Column, ...]
    machine: str
    absent: tuple[str, ...]

    def with_intervals(self, margins: Mapping[str, float]) -> "Costs":
        """Put the ends of an interval in place of the lowest and the highest seed's IoU.

        Args:
            margins: half the interval's width in points, by label; rows without one stay as they are.

        Returns:
            The same with other `iou_low` and `iou_high`.
        """
        margin = self.frame["label"].map(margins)
        low, high = self.frame["iou"] - margin, self.frame["iou"] + margin
        ends = {"iou_low": low.fillna(self.frame["iou_low"]), "iou_high": high.fillna(self.frame["iou_high"])}
        return self._replace(frame=self.frame.assign(**ends))


def costs(group: Group) -> Costs:
    """Score and cost of the group's methods, over the columns that they share; memory and times from one machine."""
    measured = [row for row in group.rows if row.iou]
    columns, machine = shared_columns(measured), _usual_machine(group.records)
    absent = {"no finished cell": [row.label for row in group.rows if not row.iou]}
    rows = []
    for row in measured:
        if not set(columns) <= row.iou.keys():
            absent.setdefault("not measured on all of these columns", []).append(row.label)
            continue
        spent = _spent(row, machine)
        if spent[["memory", "training", "inference"]].isna().all(axis=None):
            why = "memory and throughput were measured on another machine or not at all"
            absent.setdefault(why, []).append(row.label)
        rows.append(
            {
                "label": row.label,
                **_spread(pd.DataFrame({"iou": per_seed("datasets", row.iou, columns)})),
                **_spread(spent),
            }
        )
    reasons = tuple(f"{', '.join(labels)}: {why}" for why, labels in absent.items() if labels)
    names = [f"{name}{end}" for name in ("iou", *COSTS) for end in ("", "_low", "_high")]
    return Costs(pd.DataFrame(rows, columns=["label", *names]), columns, machine, reasons)


def shared_columns(rows: Sequence[MethodRow]) -> tuple[Column, ...]:
    """The columns that all of `rows` measured; if there is none, those that most of them measured."""
    counts = Counter(column for row in rows for column in row.iou)
    most = max(counts.values(), default=0)
    return in_order(column for column, count in counts.items() if count == most)


def history(group: Group) -> pd.DataFrame:
    """Training logs: dataset, label, x (epoch, from 1), y (mean loss of its steps), low, high (over seeds), lr; in row
    order."""
    logs = [
        {"dataset": record.cell.dataset, "label": row.label, "x": log.epoch, "loss": log.loss, "lr": log.lr}
        for row in group.rows
        for record in row.records
        for log in record.history
    ]
    frame = pd.DataFrame(logs, columns=["dataset", "label", "x", "loss", "lr"])
    seeds = frame.groupby(["dataset", "label", "x"], sort=False)
    return seeds.agg(y=("loss", "mean"), low=("loss", "min"), high=("loss", "max"), lr=("lr", "mean")).reset_index()


def ledger(group: Group) -> pd.DataFrame:
    """Parameters in millions: one row per label, one column for each of PARTS; the largest if datasets differ."""
    return pd.DataFrame(
        {part: [max(row.parameters(part), default=0) / 1e6 for row in group.rows] for part in PARTS},
        index=[row.label for row in group.rows],
    )


def _spent(row: MethodRow, machine: str) -> pd.DataFrame:
    """One row per seed, one column for each of COSTS: means over the datasets."""
    spent = []
    for record in row.records:
        profile = record.profile if _machine(record) == machine else None
        if record.status == "done":
            spent.append(
                {
                    "seed": record.cell.seed,
                    "parameters": record.ledger.get("adapter", 0) / 1e6,
                    "memory": profile.peak_memory_bytes / 2**30 if profile else None,
                    "training": profile.train_images_per_s if profile else None,
                    "inference": profile.infer_images_per_s if profile else None,
                }
            )
    return pd.DataFrame(spent).astype(float).groupby("seed").mean()


def _spread(spent: pd.DataFrame) -> dict[str, float]:
    centre = spent.mean()  # of equal values it can lie an ulp beside them
    ends = {"": centre, "_low": spent.min().clip(upper=centre), "_high": spent.max().clip(lower=centre)}
    return {f"{name}{end}": float(values[name]) for end, values in ends.items() for name in map(str, spent)}


def _machine(record: Record) -> str:
    """What two measurements must have in common to be compared."""
    if record.profile is None:
        return ""
    where, threads = record.environment.get("device"), record.environment.get("threads")
    memory, neighbours = f"memory: {record.profile.peak_memory_kind}", record.environment.get("neighbours")
    parts = [str(where or record.profile.device), f"{threads} thread{'s' * (threads != 1)}" if threads else ""]
    parts += [f"{neighbours} cells at a time" if neighbours not in (None, 1) else "", memory]
    return ", ".join(filter(None, (*parts, f"batch {record.profile.batch}")))


def _usual_machine(records: Sequence[Record]) -> str:
    counts = Counter(machine for record in records if (machine := _machine(record)))
    return max(sorted(counts), key=counts.__getitem__, default="")
