"""Data frames from the records of one group, for the drawings of the HTML page: score and cost, training,
parameters."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import pandas as pd

from barbench.paper.tables import Column
from barbench.reports.tables.averages import per_seed
from barbench.reports.tables.grouping import Group, MethodRow
from barbench.results.record import Record

PARTS: Final = ("adapter", "positional", "head", "frozen")
COSTS: Final = ("parameters", "memory", "training", "inference")
"""Tuned parameters in M (adapter group), peak memory in GiB, images per second in training and in evaluation."""
NO_CELL: Final = "no finished cell"
NOT_ALL_COLUMNS: Final = "not measured on all of these columns"
NO_PROFILE: Final = "memory and throughput were measured on another machine or not at all"


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
        """The same with the ends of an interval as `iou_low` and `iou_high`; `margins` are half its
        width in points, by label, and rows without one stay as they are."""
        frame = self.frame
        margin = frame["label"].map(margins)
        low = (frame["iou"] - margin).fillna(frame["iou_low"])
        high = (frame["iou"] + margin).fillna(frame["iou_high"])
        return self._replace(frame=frame.assign(iou_low=low, iou_high=high))


def costs(group: Group) -> Costs:
    """Score and cost of the group's methods, over the columns that they share; memory and times from one machine."""
    columns = group.shared
    machine = _usual_machine(group.records)
    # The reasons in the order in which the page gives them.
    unfinished: list[str] = []
    absent: dict[str, list[str]] = {NO_CELL: unfinished}
    rows = []
    for row in group.rows:
        if not row.iou:
            unfinished.append(row.label)
            continue
        if not set(columns) <= row.iou.keys():
            absent.setdefault(NOT_ALL_COLUMNS, []).append(row.label)
            continue
        # A row without a profile still has a score and parameters.
        spent = _spent(row, machine)
        if spent[["memory", "training", "inference"]].isna().all(axis=None):
            absent.setdefault(NO_PROFILE, []).append(row.label)
        scores = pd.DataFrame({"iou": per_seed("datasets", row.iou, columns)})
        rows.append({"label": row.label, **_with_range(scores), **_with_range(spent)})
    names = ["label"]
    for name in ("iou", *COSTS):
        names += [name, f"{name}_low", f"{name}_high"]
    reasons = [f"{', '.join(labels)}: {why}" for why, labels in absent.items() if labels]
    return Costs(pd.DataFrame(rows, columns=names), columns, machine, tuple(reasons))


def history(group: Group) -> pd.DataFrame:
    """Training logs: dataset, label, x (epoch, from 1), y (mean loss of its steps), low, high (over seeds), lr; in row
    order."""
    logs = []
    for row in group.rows:
        for record in row.records:
            for log in record.history:
                logs.append((record.cell.dataset, row.label, log.epoch, log.loss, log.lr))
    frame = pd.DataFrame(logs, columns=["dataset", "label", "x", "loss", "lr"])
    seeds = frame.groupby(["dataset", "label", "x"], sort=False)
    return seeds.agg(y=("loss", "mean"), low=("loss", "min"), high=("loss", "max"), lr=("lr", "mean")).reset_index()


def loss_curve(group: Group) -> pd.DataFrame:
    """As `history`, without lr: the loss every few steps, x in epochs; of records without a curve, that of epochs."""
    points = []
    for row in group.rows:
        for record in row.records:
            points += [(record.cell.dataset, row.label, *point) for point in _points(record)]
    frame = pd.DataFrame(points, columns=["dataset", "label", "x", "loss"])
    seeds = frame.groupby(["dataset", "label", "x"], sort=False)
    return seeds.agg(y=("loss", "mean"), low=("loss", "min"), high=("loss", "max")).reset_index()


def _points(record: Record) -> list[tuple[float, float]]:
    """Epochs done and loss."""
    if record.curve is None or not record.history:
        return [(float(log.epoch), log.loss) for log in record.history]
    steps = record.history[0].steps
    total = sum(log.steps for log in record.history)
    points = []
    for number, loss in enumerate(record.curve.losses, start=1):
        # The last point is of fewer steps.
        done = min(number * record.curve.every, total)
        points.append((done / steps, loss))
    return points


def ledger(group: Group) -> pd.DataFrame:
    """Parameters in millions: one row per label, one column for each of PARTS; the largest if datasets differ."""
    counts = {}
    for part in PARTS:
        counts[part] = [max(row.parameters(part), default=0) / 1e6 for row in group.rows]
    return pd.DataFrame(counts, index=[row.label for row in group.rows])


def _spent(row: MethodRow, machine: str) -> pd.DataFrame:
    """One row per seed, one column for each of COSTS: means over the datasets."""
    spent = []
    for record in row.records:
        if record.status != "done":
            continue
        # What another machine measured is left open; parameters do not depend on it.
        costs: dict[str, float | None] = {"seed": record.cell.seed, "parameters": record.ledger.get("adapter", 0) / 1e6}
        if record.profile and _machine(record) == machine:
            costs["memory"] = record.profile.peak_memory_bytes / 2**30
            costs["training"] = record.profile.train_images_per_s
            costs["inference"] = record.profile.infer_images_per_s
        spent.append(costs)
    frame = pd.DataFrame(spent, columns=["seed", *COSTS])
    return frame.astype(float).groupby("seed").mean()


def _with_range(spent: pd.DataFrame) -> dict[str, float]:
    """The mean over the seeds of each column, and the lowest and the highest seed."""
    values = {}
    for name in map(str, spent):
        mean = float(spent[name].mean())
        values[name] = mean
        # The mean of equal values can differ from them in the last bit.
        values[f"{name}_low"] = min(mean, float(spent[name].min()))
        values[f"{name}_high"] = max(mean, float(spent[name].max()))
    return values


def _machine(record: Record) -> str:
    """What two measurements must have in common to be compared."""
    profile = record.profile
    if profile is None:
        return ""
    environment = record.environment
    # Threads and neighbors change the speed, the kind of memory and the batch what is measured.
    parts = [str(environment.get("device") or profile.device)]
    threads = environment.get("threads")
    if threads:
        noun = "thread" if threads == 1 else "threads"
        parts.append(f"{threads} {noun}")
    neighbors = environment.get("neighbours")
    if neighbors not in (None, 1):
        parts.append(f"{neighbors} cells at a time")
    parts += [f"memory: {profile.peak_memory_kind}", f"batch {profile.batch}"]
    return ", ".join(filter(None, parts))


def _usual_machine(records: Sequence[Record]) -> str:
    """The machine of most records, the first by name of several; empty if nothing was measured."""
    counts = Counter(map(_machine, records))
    del counts[""]
    return max(sorted(counts), key=counts.__getitem__, default="")
