"""Every method against every other one: differences of the average score with intervals. `barbench report --table
pairs`, and a section of the page."""

from typing import Final

from barbench.reports.tables.columns import shared_score
from barbench.reports.tables.grouping import Group, name_columns
from barbench.reports.tables.rows_measured import number
from barbench.reports.tables.significance import compare_pairs
from barbench.reports.tables.table import Entry, EntryRow, Header, Mark, Section, Table
from barbench.results.interval import CONFIDENCE, Interval
from barbench.results.resampled import Difference, ResampledScores

NUMBER: Final = "pairs"
"""What `--table` calls these tables."""


def pairs_table(members: Group, evidence: ResampledScores, caption: str = "") -> list[Table]:
    """Row minus column, in points; [] where fewer than two methods can be compared."""
    score = shared_score(members)
    found = compare_pairs(score, members, evidence)
    if not found:
        return []
    # Methods that are in no pair have no row.
    compared = {label for pair in found for label in pair}
    labels = [row.label for row in members.rows if row.label in compared]
    rows: list[EntryRow] = []
    for row in labels:
        rows.append((Entry(row), *(_entry(found, row, column) for column in labels)))
    metric = members.conditions.metric
    notes = (
        f"Row minus column in {metric}, in points over {name_columns(score.over)}; ±: half of the {CONFIDENCE:.0%} "
        "interval of that single difference.",
        "Bold: more than chance, corrected by Holm's rule at 5 % for the number of pairs. The methods that are ranked "
        "are one family of tests, as in the tables; the pairs with an end (head only, full fine-tuning) are another.",
    )
    return [
        Table(
            title="Every method minus every other one",
            caption=caption,
            headers=(Header("", "Minus", "left"), *(Header("", label) for label in labels)),
            sections=(Section("", tuple(rows)),),
            notes=notes,
            number=NUMBER,
        )
    ]


def _entry(found: dict[tuple[str, str], Difference], row: str, column: str) -> Entry:
    """Each pair is stored once, the earlier row first."""
    if (row, column) in found:
        difference = found[row, column]
        interval = difference.interval
    elif (column, row) in found:
        difference = found[column, row]
        other = difference.interval
        interval = Interval(-other.mean, -other.high, -other.low)
    else:
        return Entry("")
    mark: Mark | None = "differs" if difference.significant else None
    return Entry(number(interval, sign="+"), interval.mean, mark)
