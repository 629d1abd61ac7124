"""The paper's Tables 1-5 as frozen data: `published_rows("2")`. Every cell is one line of `published_tables.csv`, as
printed.

A line holds the table, the row (section, order, method, citation, dagger, barbench's method if it has it, backbone if
the paper names it, metric, extra training data, mixed training) and the cell: dataset and column, its kind, the text as
printed, the corrected text if it is known, the reason, and the mark (`bold`, `underline`) as far as the text of the
paper keeps it. A dagger is the paper's sign for mixed training; no published row says whether evaluation images were
left out of the mix.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import StringIO
from itertools import groupby
from typing import Any, Final, Literal

from pydantic import TypeAdapter

Kind = Literal["label", "component", "parameters", "iou", "average"]
Metric = Literal["mean", "overall", "unknown"]
ROW = ("section", "order", "method", "citation", "dagger", "harness", "backbone", "metric", "extra_data", "mixed")
CELL = ("dataset", "column", "kind", "printed", "corrected", "reason", "mark")


@dataclass(frozen=True)
class Printed:
    """One cell of a published table.

    Attributes:
        dataset: the group of columns; empty for a column without a group.
        column: as the paper names it.
        printed: the text of the paper.
        corrected: the right text if `printed` is known to be wrong, else empty.
        reason: why it is corrected, or what is doubtful.
    """

    dataset: str
    column: str
    kind: Kind
    printed: str
    corrected: str
    reason: str
    mark: Literal["", "bold", "underline"]

    @property
    def value(self) -> float | None:
        """The number as printed; None for a dash or text."""
        return _number(self.printed)

    @property
    def corrected_value(self) -> float | None:
        """The corrected number, or the printed one where nothing is corrected."""
        return _number(self.corrected or self.printed)


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table.

    Attributes:
        section: the heading above the row.
        citation: who proposed the method.
        dagger: the paper's sign for mixed training.
        harness: barbench's name for the method; empty if it does not have the method.
        backbone: empty if the paper does not name it.
        extra_data: training data beyond RefCOCO, RefCOCO+ and G-Ref.
    """

    table: str
    section: str
    order: int
    method: str
    citation: str
    dagger: Literal["", "†"]
    harness: str
    backbone: str
    metric: Metric
    extra_data: str
    mixed: Literal["yes", "no", "unknown"]
    cells: tuple[Printed, ...]

    def cell(self, dataset: str, column: str) -> Printed | None:
        """One cell of the row; None if the table has no such column. `dataset` is empty for Method, SNF, LIM, GST,
        Params (M) and Avg."""
        return next((cell for cell in self.cells if (cell.dataset, cell.column) == (dataset, column)), None)


ROWS: Final = TypeAdapter(PublishedRow)


@dataclass(frozen=True)
class TextMisprint:
    """An error about a table in a caption or in the running text: where, what is printed, what is right, and why."""

    place: str
    printed: str
    corrected: str
    reason: str


@cache
def published_rows(table: str) -> tuple[PublishedRow, ...]:
    """The rows of Table `table` ("1" ... "5") in the paper's order; none if the paper has no such table."""
    lines = (line for line in csv_lines("published_tables.csv") if line["table"] == table)
    return tuple(_row(table, list(members)) for _, members in groupby(lines, key=lambda line: line["order"]))


@cache
def text_misprints(table: str) -> tuple[TextMisprint, ...]:
    """The errors about Table `table` in captions and running text."""
    lines = (line for line in csv_lines("published_text.csv") if table in line.pop("tables").split())
    return tuple(TextMisprint(**line) for line in lines)


def csv_lines(name: str) -> Iterator[dict[str, str]]:
    """Each line of a file of this folder, by column."""
    text = (files("barbench.paper") / name).read_text("utf-8")
    yield from csv.DictReader(StringIO(text))


def _row(table: str, lines: list[dict[str, str]]) -> PublishedRow:
    row: dict[str, Any] = {name: lines[0][name] for name in ROW}
    cells = []
    for line in lines:
        cells.append({name: line[name] for name in CELL})
    return ROWS.validate_python(row | {"table": table, "cells": cells})


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
