"""Reading a Table in tests: texts of a section, the one measured table, a column by its headers."""

from collections.abc import Sequence

import numpy as np

from barbench.reports.tables.build import build_measured
from barbench.reports.tables.grouping import group
from barbench.reports.tables.table import Entry, Section, Table
from barbench.results.record import Record
from barbench.results.resampled import ResampledScores, Runs, Sample

AVERAGES = [("Avg", "datasets"), ("Avg", "columns")]


def texts(section: Section) -> list[list[str]]:
    return [[entry.text for entry in row] for row in section.rows]


class Certain(ResampledScores):
    """Counts so many that no interval has a width: every difference is more than chance."""

    def __init__(self) -> None:
        pass

    def sample(self, methods: Sequence[Runs]) -> Sample:
        scores = np.array(
            [[by_seed[s].record.splits[by_seed[s].split].scores.miou for s in sorted(by_seed)] for by_seed in methods]
        )
        return Sample(scores, np.stack([scores] * 4), images=1_000, effective=1_000.0)


def one(number: str, records: list[Record], evidence: ResampledScores | None = None) -> Table:
    [table] = build_measured(number, group(records), evidence)
    return table


def cells(table: Table, name: str, group: str = "") -> dict[str, Entry]:
    [index] = [i for i, header in enumerate(table.headers) if (header.group, header.name) == (group, name)]
    return {row[0].text: row[index] for row in table.sections[0].rows}
