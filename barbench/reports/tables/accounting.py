"""The parameters of each method by group, and its share by the rules of several papers: `barbench report --table
parameters`, and a table of the page."""

from collections.abc import Mapping
from typing import Final

from barbench.reports.tables.averages import millions
from barbench.reports.tables.grouping import Group, MethodRow
from barbench.reports.tables.table import Entry, EntryRow, Header, Section, Table
from barbench.spec.accounting import GROUPS, NOT_RECORDED, PRESETS, CountRule

NUMBER: Final = "parameters"
"""What `--table` calls these tables."""
GROUP_NAMES: Final[Mapping[str, str]] = {
    "adapter": "Adapter",
    "own": "Own",
    "norms": "Norms",
    "biases": "Biases",
    "weights": "Weights",
    "positional": "Positions",
    "head": "Head",
    "frozen": "Frozen",
}
# BarLeRIa's range is ETRIS' rule, and MaPPER's is DETRIS'.
_SHOWN: Final = ("etris", "barleria", "detris", "cola")


def accounting_table(members: Group, caption: str = "") -> Table:
    """One row per method: every group of the ledger, then the shares by rule."""
    headers = [Header("", "Method", "left")]
    headers += [Header("", name) for name in GROUP_NAMES.values()]
    headers += [Header("Tuned, by rule (%)", name) for name in _SHOWN]
    rows: list[EntryRow] = []
    for row in members.rows:
        entries = [Entry(row.label)]
        entries += [_group(row, name) for name in GROUP_NAMES]
        entries += [counted(row, PRESETS[name]) for name in _SHOWN]
        rows.append(tuple(entries))
    rules = "; ".join(f"{name} is {PRESETS[name].words}" for name in _SHOWN)
    notes = [
        "Adapter = own (modules that the method added) + norms + biases + weights (of the encoders' own parameters). "
        f"{', '.join(GROUP_NAMES[name] for name in GROUPS)} divide all parameters: each is in one of them.",
        f"A share needs both words, what is counted and of what: {rules}.",
        f"{NOT_RECORDED.capitalize()}: the record is older than the count.",
    ]
    return Table(
        "Tuned parameters, by group and by rule", caption, tuple(headers), (Section("", tuple(rows)),), tuple(notes),
        number=NUMBER,
    )  # fmt: skip


def counted(row: MethodRow, rule: CountRule) -> Entry:
    """What a rule makes of a method's ledgers: a share or millions; several where data sets differ, `-` without a
    ledger."""
    texts = []
    for ledger in _ledgers(row):
        text = rule.printed(ledger)
        count = rule.parameters(ledger)
        if count is not None and not rule.in_percent:
            text = millions(count)
        texts.append(text)
    # Counts that differ may print alike.
    shown = sorted(dict.fromkeys(texts), key=_value)
    if not shown:
        return Entry("-")
    known = [text for text in shown if text != NOT_RECORDED]
    if not known:
        return Entry(NOT_RECORDED)
    return Entry("–".join(known), float(known[0]))


def _value(text: str) -> float:
    return 0.0 if text == NOT_RECORDED else float(text)


def _ledgers(row: MethodRow) -> list[dict[str, int]]:
    return [record.ledger for record in row.records if record.ledger]


def _group(row: MethodRow, name: str) -> Entry:
    counts = row.parameters(name)
    if counts:
        return Entry("–".join(f"{count:,}" for count in counts), float(counts[0]))
    return Entry(NOT_RECORDED if _ledgers(row) else "-")
